// Images of each class at the same moment, one column per run. They come from the newest batch
// finished by that moment.

import { badge, h, num, pct, picture, setChildren, setText, time, crispSize } from '../core/dom.js';
import { ResponseCache } from '../store/groups.js';

/** @import { Comparison, AxisPosition, PanelState } from '../core/types.js' */

const MAX_RESPONSES = 120;
const MAX_CLASSES = 40;
const MAX_TILES = 5;
const WAIT_MS = 120;

/**
 * Groups tiles by class. The sheet has one row per class of the batch.
 */
function byClass(raw) {
  const rows = new Map();
  for (const { c, p } of raw.tiles) {
    if (!rows.has(c)) rows.set(c, { row: rows.size, tiles: [] });
    rows.get(c).tiles.push(p);
  }
  return { ...raw, classes: rows };
}

/** Images of each class at the same moment, one column per run. */
export class CompareImages {
  /**
   * @param {HTMLElement} root
   * @param {string} base
   */
  constructor(root, base) {
    this.base = base;
    /** @type {HTMLElement} */
    this.note = root.querySelector('.note');
    /** @type {HTMLElement} */
    this.grid = root.querySelector('.c-grid');
    this.displayed = new Map();
    this.cache = new ResponseCache(MAX_RESPONSES, () => this.#show());
    new ResizeObserver(() => this.#show()).observe(this.grid);
  }

  /**
   * Draws immediately the first time, and later only when the slider has stopped moving.
   * @param {PanelState<Comparison, AxisPosition, null>} state
   */
  draw(state) {
    this.state = state;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#show(), this.key ? WAIT_MS : 0);
  }

  #show() {
    if (!this.state || !this.grid.clientWidth) return;
    const { loadedRuns: runs } = this.state.snapshot;
    const { column, x } = this.state.moment;
    const columns = runs.map((run) => {
      const { batches } = run.columns;
      const index = batches[column].findLastIndex((v) => v <= x + 1e-9);
      const it = index < 0 ? null : batches.iteration[index];
      const attempt = `${run.name} ${run.id} ${run.attempt}`;
      const group =
        it == null
          ? null
          : this.cache.get(
              `${attempt} ${it}`,
              `${this.base}/kg/group/${encodeURIComponent(run.name)}/${run.attempt}/${it}?id=${encodeURIComponent(run.id)}`,
              byClass,
            );
      if (group)
        this.displayed.set(run.name, {
          attempt,
          it,
          t: batches.t[index],
          pixels: batches.pixels[index],
          group,
        });
      const displayed = this.displayed.get(run.name);
      // show the previous batch until the requested one arrives; the caption names the batch shown
      return {
        run,
        displayed: it != null && displayed?.attempt === attempt ? displayed : null,
        isEmpty: it == null,
      };
    });
    const key = JSON.stringify([
      this.grid.clientWidth,
      runs.map((run) => run.classes),
      columns.map(({ run, displayed, isEmpty }) => [
        run.i,
        run.name,
        displayed?.attempt,
        displayed?.it,
        isEmpty,
      ]),
    ]);
    if (key === this.key) return;
    this.key = key;
    const classNames = [...new Set(runs.flatMap((run) => run.classes))];
    const shownNames = classNames.slice(0, MAX_CLASSES);
    setText(
      this.note,
      classNames.length > MAX_CLASSES
        ? `first ${MAX_CLASSES} of ${num(classNames.length)} classes`
        : 'newest finished batch',
    );
    const isNarrow = this.grid.clientWidth < 560;
    const availableWidth =
      Math.floor((this.grid.clientWidth - (isNarrow ? 0 : 92)) / runs.length) - 16;
    this.grid.style.setProperty('--runs', String(runs.length));
    setChildren(
      this.grid,
      h('span', { class: 'c-corner' }),
      columns.map(({ run, displayed, isEmpty }) =>
        h(
          'div',
          { class: 'c-head' },
          badge(run.i),
          h(
            'span',
            null,
            displayed ? `iteration ${num(displayed.it + 1)}` : isEmpty ? 'no images yet' : '…',
            displayed &&
              h(
                'small',
                { class: 'muted' },
                `${num(displayed.pixels)} pixels · ${time(displayed.t)}`,
              ),
          ),
        ),
      ),
      shownNames.map((name) => [
        h('span', { class: 'c-name' }, name),
        ...columns.map(({ run, displayed }) =>
          h(
            'div',
            { class: 'c-tiles' },
            displayed && this.#tiles(run, displayed, name, availableWidth),
          ),
        ),
      ]),
    );
  }

  #tiles(run, { group }, name, availableWidth) {
    const classRow = group.classes.get(run.classes.indexOf(name));
    if (!classRow)
      return h(
        'small',
        { class: 'muted' },
        run.classes.includes(name) ? 'none in this batch' : 'not in this run',
      );
    const size = crispSize(group.side, Math.min(availableWidth, group.side > 56 ? 64 : 56));
    const count = Math.max(1, Math.min(MAX_TILES, Math.floor((availableWidth + 4) / (size + 4))));
    return classRow.tiles
      .slice(0, count)
      .map((p, col) =>
        h(
          'span',
          { 'data-tip': `${name}: the teacher is ${pct(p)} sure.` },
          picture(
            { url: group.sheet, col, row: classRow.row, columns: group.columns, rows: group.rows },
            size,
            `${name}, run ${run.letter}, teacher ${pct(p)} sure`,
          ),
        ),
      );
  }
}
