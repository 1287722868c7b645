// The table of differences in recipes, results, and results per class.

import { badge, h, setChildren, setAttr, setText, term } from '../core/dom.js';

/** @import { Comparison, AxisPosition, PanelState } from '../core/types.js' */

const SECTIONS = {
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
   * @param {PanelState<Comparison, AxisPosition, null>} state
   */
  draw({ snapshot: { response, loadedRuns } }) {
    if (!response.table) return;
    const names = response.runs.map((run) => run.name);
    const csv = `${this.base}/kg/compare.csv?runs=${names.join(',')}`;
    setAttr(this.root.querySelector('.csv'), 'href', csv);
    const key = JSON.stringify([response.table, loadedRuns.map((run) => run.name)]);
    if (this.key === key) return;
    this.key = key;
    setText(this.root.querySelector('.note'), 'points: difference from A in percentage points');
    setChildren(this.root.querySelector('.c-scroll'), renderTables(response));
  }
}

function renderTables(response) {
  const bodies = Object.entries(SECTIONS)
    .map(
      ([part, title]) =>
        /** @type {[string, any[]]} */ ([title, response.table.filter((row) => row.part === part)]),
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
        response.runs.map((run, i) => h('th', { scope: 'col' }, badge(i), ' ', run.name)),
      ),
    );
  const body = (/** @type {[string, any[]]} */ [title, rows]) =>
    h(
      'tbody',
      null,
      h(
        'tr',
        { class: 'part' },
        h('th', { scope: 'rowgroup', colspan: response.runs.length + 1 }, title),
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
  const classes = bodies.filter(([title]) => title === SECTIONS.class);
  const rest = bodies.filter(([title]) => title !== SECTIONS.class);
  return [rest, classes]
    .filter((group) => group.length)
    .map((group) => h('table', null, head(), group.map(body)));
}
