// The images lassoed in the scatter plot, shown in place of the gallery: every selected image,
// counts per class, and a way back.

import { dot, h, num, picture, put, setAttr, setText, whole } from '../core/dom.js';
import { finishedAt } from '../store/moments.js';

/** @import { ImageKey, ImageOfClass, Shown } from '../core/types.js' */
/** @import { Archive } from '../store/groups.js' */

const SIDE = 40;
const GAP = 8;

/** The selected images, shown in place of the gallery. */
export class SelectionPanel {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {Archive} hooks.archive
   * @param {(at: ImageKey) => void} hooks.select
   * @param {(c: number) => number} hooks.colour
   * @param {() => void} hooks.redraw
   * @param {() => void} hooks.cleared Called when the selection was cleared.
   */
  constructor(view, { archive, select, colour, redraw, cleared }) {
    this.archive = archive;
    this.select = select;
    this.colour = colour;
    this.redraw = redraw;
    this.cleared = cleared;
    this.images = null;
    this.page = 0;
    this.key = '';
    /** @type {HTMLElement} */
    this.panel = view.querySelector('.p-gallery');
    /** @type {HTMLElement} */
    this.gallery = this.panel.querySelector('.gallery');
    /** @type {HTMLElement} */
    this.root = this.panel.querySelector('.picked');
    this.counts = h('p', { class: 'counts', role: 'status' });
    this.grid = h('div', { class: 'grid-of', role: 'group', 'aria-label': 'Selected images' });
    this.turn = h('span', { class: 'muted small' });
    this.pager = h(
      'div',
      { class: 'pager' },
      [-1, 1].map((by) =>
        h(
          'button',
          {
            type: 'button',
            class: 'btn small',
            'aria-label': by < 0 ? 'Previous images' : 'More images',
            onclick: () => {
              this.page += by;
              this.redraw();
            },
          },
          by < 0 ? '‹' : '›',
        ),
      ),
      this.turn,
    );
    this.clear = h(
      'button',
      { type: 'button', class: 'btn small clear', onclick: () => this.show(null) },
      'Clear selection',
    );
    put(
      this.root,
      h('div', { class: 'picked-head' }, this.counts, this.pager, this.clear),
      this.grid,
    );
    new ResizeObserver(() => this.images && this.redraw()).observe(this.panel);
  }

  /**
   * Shows images, or the gallery again.
   * @param {ImageOfClass[] | null} images
   */
  show(images) {
    const was = this.images;
    this.images = images?.length
      ? images.toSorted((a, b) => a.c - b.c || a.it - b.it || a.pos - b.pos)
      : null;
    this.page = 0;
    if (was && !this.images) this.cleared();
    this.redraw();
  }

  /**
   * Draws the selection.
   * @param {Shown} shown
   */
  draw({ snapshot: snap, moment, selection }) {
    const chosen = selection.pinned ? selection.at : null;
    const finished = finishedAt(moment);
    const mark = `${snap.run} ${snap.id} ${snap.attempt}`;
    if (this.images && this.of != null && this.of !== mark) {
      this.of = mark;
      this.show(null);
      return;
    } // a selection from another run
    this.of = mark;
    const on = Boolean(this.images);
    setAttr(this.root, 'hidden', !on);
    setAttr(this.gallery, 'hidden', on);
    if (!on) {
      this.key = '';
      return;
    }
    const images = this.images.filter(({ it }) => it < finished);
    const size = whole(Math.max(...snap.scales.map((s) => s.side)), SIDE);
    const cell = Math.min(size, 56);
    const columns = Math.max(1, Math.floor((this.root.clientWidth + GAP) / (cell + GAP)));
    const rows = Math.max(4, Math.floor((this.panel.clientHeight - 110) / (cell + GAP)));
    const each = columns * rows;
    const pages = Math.max(1, Math.ceil(images.length / each));
    this.page = Math.max(0, Math.min(pages - 1, this.page));
    const shown = images.slice(this.page * each, (this.page + 1) * each);
    const sheets = new Map(
      [...new Set(shown.map(({ it }) => it))].map((it) => [it, this.archive.tiles(it)]),
    );
    const key = JSON.stringify([
      mark,
      images.length,
      shown[0],
      shown.at(-1),
      [...sheets.values()].map(Boolean),
      cell,
      chosen,
      this.page,
    ]);
    if (key === this.key) return;
    this.key = key;
    const by = new Map();
    for (const { c } of images) by.set(c, (by.get(c) ?? 0) + 1);
    put(
      this.counts,
      h('b', null, `${num(images.length)} selected`),
      [...by].map(([c, n]) =>
        h('span', null, dot(this.colour(c)), ` ${snap.classes[c]} ${num(n)}`),
      ),
    );
    setAttr(this.pager, 'hidden', pages < 2);
    setText(this.turn, `${num(this.page * each + 1)}–${num(this.page * each + shown.length)}`);
    [...this.pager.querySelectorAll('button')].forEach((button, i) =>
      setAttr(button, 'disabled', i ? this.page >= pages - 1 : !this.page),
    );
    const focused = /** @type {HTMLElement} */ (document.activeElement)?.dataset?.image;
    put(
      this.grid,
      shown.map(({ it, pos, c }) => {
        const sheet = sheets.get(it);
        const name = `${snap.classes[c]}, iteration ${num(it + 1)}`;
        return h(
          'button',
          {
            type: 'button',
            class: 'one',
            'data-image': `${it}:${pos}`,
            'aria-label': name,
            'aria-pressed': String(chosen?.it === it && chosen.pos === pos),
            'data-tip': name,
            onclick: () => this.select({ it, pos }),
          },
          sheet
            ? picture(
                {
                  url: sheet.sheet,
                  col: pos % sheet.columns,
                  row: Math.floor(pos / sheet.columns),
                  columns: sheet.columns,
                  rows: sheet.rows,
                },
                cell,
              )
            : h('span', { class: 'pix', style: { width: `${cell}px`, height: `${cell}px` } }),
        );
      }),
    );
    if (!focused) return;
    /** @type {HTMLElement | null} */
    const again = this.grid.querySelector(`[data-image="${focused}"]`);
    again?.focus();
  }
}
