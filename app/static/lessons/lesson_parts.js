// The parts of a lesson that do not depend on its runs: the switch, and the empty table for the
// runs' numbers.

import { h, setChildren } from '../core/dom.js';
import { renderSymbols } from '../core/prose.js';

/** @import { Lesson } from '../core/types.js' */

/** The runs of a lesson, as people call them. @type {Record<string, string>} */
export const NAMES = { a: 'A', b: 'B' };

/**
 * Draws both states of the switch. The arrow shows the direction of the flip.
 * @param {HTMLElement} root
 * @param {Lesson} lesson
 * @param {string[]} variants
 */
export function drawSwitch(root, { switch: { name, a, b, fields }, commands }, variants) {
  const renderSide = (v, text, index) =>
    h(
      'div',
      { class: 'state', 'data-v': v },
      h('b', null, NAMES[v]),
      h('span', null, renderSymbols(text)),
      h('code', null, fields.map((field) => `${field[0]} = ${field[index]}`).join('\n')),
    );
  setChildren(
    root,
    h('p', { class: 'muted' }, renderSymbols(name)),
    h(
      'div',
      { class: 'states', role: 'group', 'aria-label': name },
      renderSide('a', a, 1),
      h('span', { class: 'arrow', 'aria-hidden': 'true' }, '→'),
      renderSide('b', b, 2),
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
 * Draws the table of the runs' results, next to the results of the same recipes with other seeds.
 * @param {HTMLElement} root
 * @param {Lesson} lesson
 * @param {string[]} variants
 * @returns {{ name: string, node: HTMLElement }[]} The cells to fill, with their numbers' names.
 */
export function drawTable(root, lesson, variants) {
  const difference = variants.length > 1;
  const columns = [...variants, ...(difference ? ['difference'] : [])];
  const hasReference = Object.keys(lesson.seeds).length;
  const rows = lesson.table.map(({ name, title }) => ({
    title,
    name,
    cells: columns.map((v) => ({ name: `${v}.${name}`, node: h('span', { class: 'empty' }) })),
  }));
  setChildren(
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
          hasReference
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
            h('th', { scope: 'row' }, renderSymbols(row.title)),
            row.cells.map((cell) => h('td', null, cell.node)),
            hasReference
              ? variants.map((v) => h('td', { class: 'muted' }, lesson.seeds[row.name]?.[v] ?? ''))
              : null,
          ),
        ),
      ),
    ),
  );
  return rows.flatMap((row) => row.cells);
}
