// Images of each class at the same moment, one column per run, from the newest batch finished by
// then.

import { badge, h, num, pct, picture, put, setText, time, whole } from '../core/dom.js';
import { AnswerCache } from '../store/groups.js';

/** @import { Comparison, Place, Shown } from '../core/types.js' */

const KEPT = 120;
const ROWS = 40;
const MOST = 5;
const WAIT = 120;

/**
 * Groups tiles by class, each with its place on the sheet, which has one row per class of the
 * batch.
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
    this.held = new Map();
    this.asked = 0;
    this.cache = new AnswerCache(KEPT, () => this.#show());
    new ResizeObserver(() => this.#show()).observe(this.grid);
  }

  /**
   * Draws at once the first time, then only when the slider comes to rest.
   * @param {Shown<Comparison, Place, null>} shown
   */
  draw(shown) {
    this.last = shown;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#show(), this.key ? WAIT : 0);
  }

  #show() {
    if (!this.last || !this.grid.clientWidth) return;
    const { ready: runs } = this.last.snapshot;
    const { column, x } = this.last.moment;
    const columns = runs.map((run) => {
      const { batches } = run.columns;
      const at = batches[column].findLastIndex((v) => v <= x + 1e-9);
      const it = at < 0 ? null : batches.iteration[at];
      const of = `${run.name} ${run.id} ${run.attempt}`;
      const group =
        it == null
          ? null
          : this.cache.get(
              `${of} ${it}`,
              `${this.base}/kg/group/${encodeURIComponent(run.name)}/${run.attempt}/${it}?id=${encodeURIComponent(run.id)}`,
              byClass,
            );
      if (group)
        this.held.set(run.name, { of, it, t: batches.t[at], pixels: batches.pixels[at], group });
      const held = this.held.get(run.name);
      // show the previous batch until the requested one arrives; its caption says which
      return { run, held: it != null && held?.of === of ? held : null, none: it == null };
    });
    const key = JSON.stringify([
      this.grid.clientWidth,
      runs.map((run) => run.classes),
      columns.map(({ run, held, none }) => [run.i, run.name, held?.of, held?.it, none]),
    ]);
    if (key === this.key) return;
    this.key = key;
    const names = [...new Set(runs.flatMap((run) => run.classes))];
    const shown = names.slice(0, ROWS);
    setText(
      this.note,
      names.length > ROWS
        ? `first ${ROWS} of ${num(names.length)} classes`
        : 'newest finished batch',
    );
    const narrow = this.grid.clientWidth < 560;
    const room = Math.floor((this.grid.clientWidth - (narrow ? 0 : 92)) / runs.length) - 16;
    this.grid.style.setProperty('--runs', String(runs.length));
    put(
      this.grid,
      h('span', { class: 'c-corner' }),
      columns.map(({ run, held, none }) =>
        h(
          'div',
          { class: 'c-head' },
          badge(run.i),
          h(
            'span',
            null,
            held ? `iteration ${num(held.it + 1)}` : none ? 'no images yet' : '…',
            held && h('small', { class: 'muted' }, `${num(held.pixels)} pixels · ${time(held.t)}`),
          ),
        ),
      ),
      shown.map((name) => [
        h('span', { class: 'c-name' }, name),
        ...columns.map(({ run, held }) =>
          h('div', { class: 'c-tiles' }, held && this.#tiles(run, held, name, room)),
        ),
      ]),
    );
  }

  #tiles(run, { group }, name, room) {
    const found = group.classes.get(run.classes.indexOf(name));
    if (!found)
      return h(
        'small',
        { class: 'muted' },
        run.classes.includes(name) ? 'none in this batch' : 'not in this run',
      );
    const size = whole(group.side, Math.min(room, group.side > 56 ? 64 : 56));
    const many = Math.max(1, Math.min(MOST, Math.floor((room + 4) / (size + 4))));
    return found.tiles
      .slice(0, many)
      .map((p, col) =>
        h(
          'span',
          { 'data-tip': `${name}: the teacher is ${pct(p)} sure.` },
          picture(
            { url: group.sheet, col, row: found.row, columns: group.columns, rows: group.rows },
            size,
            `${name}, run ${run.letter}, teacher ${pct(p)} sure`,
          ),
        ),
      );
  }
}
