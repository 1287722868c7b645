// The table of differences: the recipes, the results, and the results per class.

import { badge, h, put, setText, term } from '../core/dom.js';

/** @import { ComparedRun } from '../core/types.js' */

const PARTS = {
  recipe: 'Recipe',
  result: 'Results',
  class: 'Per class, at the last test',
};

/**
 * Draws the table if it has changed.
 * @param {HTMLElement & { key?: string }} root
 * @param {any} told The response of /kg/compare.
 * @param {ComparedRun[]} runs
 */
export function draw(root, told, runs) {
  const key = JSON.stringify([told.table, runs.map((run) => run.name)]);
  if (root.key === key) return;
  root.key = key;
  setText(root.querySelector('.note'), 'points: difference from A in percentage points');
  const bodies = Object.entries(PARTS)
    .map(
      ([part, title]) =>
        /** @type {[string, any[]]} */ ([title, told.table.filter((row) => row.part === part)]),
    )
    .filter(([, rows]) => rows.length);
  const head = () =>
    h(
      'thead',
      null,
      h(
        'tr',
        null,
        h('td', null),
        told.runs.map((run, i) => h('th', { scope: 'col' }, badge(i), ' ', run.name)),
      ),
    );
  const body = (/** @type {[string, any[]]} */ [title, rows]) =>
    h(
      'tbody',
      null,
      h(
        'tr',
        { class: 'part' },
        h('th', { scope: 'rowgroup', colspan: told.runs.length + 1 }, title),
      ),
      rows.map((row) =>
        h(
          'tr',
          null,
          h('th', { scope: 'row' }, row.tip ? term(row.label, row.tip) : row.label),
          row.cells.map((cell) =>
            h(
              'td',
              null,
              h(
                'div',
                null,
                h('span', null, cell.text),
                cell.note && h('small', { class: 'muted' }, cell.note),
              ),
            ),
          ),
        ),
      ),
    );
  const classes = bodies.filter(([title]) => title === PARTS.class);
  const rest = bodies.filter(([title]) => title !== PARTS.class);
  put(
    root.querySelector('.c-scroll'),
    [rest, classes]
      .filter((some) => some.length)
      .map((some) => h('table', null, head(), some.map(body))),
  );
}
