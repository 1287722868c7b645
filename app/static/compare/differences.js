// The table of differences: the recipes, the results, and the results per class.

import { badge, h, put, setAttr, setText, term } from '../core/dom.js';

/** @import { Comparison, Place, Shown } from '../core/types.js' */

const PARTS = {
  recipe: 'Recipe',
  result: 'Results',
  class: 'Per class, at the last test',
};

/** The table of differences. */
export class Differences {
  /**
   * @param {HTMLElement} root
   * @param {string} base
   */
  constructor(root, base) {
    this.root = root;
    this.base = base;
  }

  /**
   * Draws the table if it has changed.
   * @param {Shown<Comparison, Place, null>} shown
   */
  draw({ snapshot: { told, ready } }) {
    if (!told.table) return;
    const names = told.runs.map((run) => run.name);
    const csv = `${this.base}/kg/compare.csv?runs=${names.join(',')}`;
    setAttr(this.root.querySelector('.csv'), 'href', csv);
    const key = JSON.stringify([told.table, ready.map((run) => run.name)]);
    if (this.key === key) return;
    this.key = key;
    setText(this.root.querySelector('.note'), 'points: difference from A in percentage points');
    put(this.root.querySelector('.c-scroll'), tables(told));
  }
}

function tables(told) {
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
  return [rest, classes]
    .filter((some) => some.length)
    .map((some) => h('table', null, head(), some.map(body)));
}
