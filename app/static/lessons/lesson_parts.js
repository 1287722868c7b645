// What of a lesson does not depend on its runs: the switch, and the table that their numbers go
// into.

import { h, put } from '../core/dom.js';
import { symbols } from '../core/prose.js';

/** @import { Lesson } from '../core/types.js' */

/** The runs of a lesson, as people call them. @type {Record<string, string>} */
export const NAMES = { a: 'A', b: 'B' };

/**
 * Draws both states of the switch in words; the arrow shows the direction of the flip.
 * @param {HTMLElement} root
 * @param {Lesson} lesson
 * @param {string[]} variants
 */
export function drawSwitch(root, { switch: { name, a, b, fields }, commands }, variants) {
  const side = (v, text, at) =>
    h(
      'div',
      { class: 'state', 'data-v': v },
      h('b', null, NAMES[v]),
      h('span', null, symbols(text)),
      h('code', null, fields.map((field) => `${field[0]} = ${field[at]}`).join('\n')),
    );
  put(
    root,
    h('p', { class: 'muted' }, symbols(name)),
    h(
      'div',
      { class: 'states', role: 'group', 'aria-label': name },
      side('a', a, 1),
      h('span', { class: 'arrow', 'aria-hidden': 'true' }, '→'),
      side('b', b, 2),
    ),
    h(
      'details',
      null,
      h('summary', { class: 'muted small' }, 'Run this from a terminal'),
      variants.map((v) => h('code', { class: 'line' }, commands[v])),
    ),
  );
}

/**
 * Draws the table of the runs' results, beside the results of these recipes with other seeds.
 * @param {HTMLElement} root
 * @param {Lesson} told
 * @param {string[]} variants
 * @returns {{ name: string, node: HTMLElement }[]} The cells to fill, with their numbers' names.
 */
export function drawTable(root, told, variants) {
  const difference = variants.length > 1;
  const columns = [...variants, ...(difference ? ['difference'] : [])];
  const measured = Object.keys(told.seeds).length;
  const rows = told.table.map(({ name, title }) => ({
    title,
    name,
    cells: columns.map((v) => ({ name: `${v}.${name}`, node: h('span', { class: 'empty' }) })),
  }));
  put(
    root,
    h(
      'table',
      null,
      h(
        'thead',
        null,
        h(
          'tr',
          null,
          h('th', null, 'This run'),
          columns.map((v) =>
            h('th', null, v === 'difference' ? 'B − A' : difference ? NAMES[v] : ''),
          ),
          measured
            ? variants.map((v) =>
                h('th', { class: 'muted' }, difference ? `${NAMES[v]}, reference` : 'reference'),
              )
            : null,
        ),
      ),
      h(
        'tbody',
        null,
        rows.map((row) =>
          h(
            'tr',
            null,
            h('th', { scope: 'row' }, symbols(row.title)),
            row.cells.map((cell) => h('td', null, cell.node)),
            measured
              ? variants.map((v) => h('td', { class: 'muted' }, told.seeds[row.name]?.[v] ?? ''))
              : null,
          ),
        ),
      ),
    ),
  );
  return rows.flatMap((row) => row.cells);
}
