// The images selected in the scatter plot, shown in place of the gallery, with counts per class and
// a way back.

import { dot, h, num, picture, setChildren, setAttr, setText, crispSize } from '../core/dom.js';
import { finishedAt } from '../store/moments.js';

/** @import { ImageKey, ImageOfClass, PanelState } from '../core/types.js' */
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
   * @param {(c: number) => number} hooks.colorOf
   * @param {() => void} hooks.redraw
   * @param {() => void} hooks.onClear Called when the selection was cleared.
   */
  constructor(view, { archive, select, colorOf, redraw, onClear }) {
    this.archive = archive;
    this.select = select;
    this.colorOf = colorOf;
    this.redraw = redraw;
    this.onClear = onClear;
    this.images = null;
    this.page = 0;
    this.key = '';
    /** @type {HTMLElement} */
    this.panel = view.querySelector('.p-gallery');
    /** @type {HTMLElement} */
    this.gallery = this.panel.querySelector('.gallery');
    /** @type {HTMLElement} */
    this.root = this.panel.querySelector('.selection');
    this.counts = h('p', { class: 'counts', role: 'status' });
    this.grid = h('div', {
      class: 'selection-images',
      role: 'group',
      'aria-label': 'Selected images',
    });
    this.rangeLabel = h('span', { class: 'muted small' });
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
      this.rangeLabel,
    );
    this.clear = h(
      'button',
      { type: 'button', class: 'btn small clear', onclick: () => this.show(null) },
      'Clear selection',
    );
    setChildren(
      this.root,
      h('div', { class: 'selection-head' }, this.counts, this.pager, this.clear),
      this.grid,
    );
    new ResizeObserver(() => this.images && this.redraw()).observe(this.panel);
  }

  /**
   * Shows images, or the gallery again.
   * @param {ImageOfClass[] | null} images
   */
  show(images) {
    const previous = this.images;
    this.images = images?.length
      ? images.toSorted((a, b) => a.c - b.c || a.it - b.it || a.pos - b.pos)
      : null;
    this.page = 0;
    if (previous && !this.images) this.onClear();
    this.redraw();
  }

  /**
   * Draws the selection.
   * @param {PanelState} state
   */
  draw({ snapshot: snap, moment, selection }) {
    const selected = selection.pinned ? selection.imageKey : null;
    const finished = finishedAt(moment);
    const runKey = `${snap.run} ${snap.id} ${snap.attempt}`;
    if (this.images && this.runKey != null && this.runKey !== runKey) {
      this.runKey = runKey;
      this.show(null);
      return;
    } // a selection from another run
    this.runKey = runKey;
    const isShown = Boolean(this.images);
    setAttr(this.root, 'hidden', !isShown);
    setAttr(this.gallery, 'hidden', isShown);
    if (!isShown) {
      this.key = '';
      return;
    }
    const images = this.images.filter(({ it }) => it < finished);
    const size = crispSize(Math.max(...snap.scales.map((s) => s.side)), SIDE);
    const cell = Math.min(size, 56);
    const columns = Math.max(1, Math.floor((this.root.clientWidth + GAP) / (cell + GAP)));
    const rows = Math.max(4, Math.floor((this.panel.clientHeight - 110) / (cell + GAP)));
    const perPage = columns * rows;
    const pages = Math.max(1, Math.ceil(images.length / perPage));
    this.page = Math.max(0, Math.min(pages - 1, this.page));
    const shownImages = images.slice(this.page * perPage, (this.page + 1) * perPage);
    const sheets = new Map(
      [...new Set(shownImages.map(({ it }) => it))].map((it) => [it, this.archive.tiles(it)]),
    );
    const key = JSON.stringify([
      runKey,
      images.length,
      shownImages[0],
      shownImages.at(-1),
      [...sheets.values()].map(Boolean),
      cell,
      selected,
      this.page,
    ]);
    if (key === this.key) return;
    this.key = key;
    const countByClass = new Map();
    for (const { c } of images) countByClass.set(c, (countByClass.get(c) ?? 0) + 1);
    setChildren(
      this.counts,
      h('b', null, `${num(images.length)} selected`),
      [...countByClass].map(([c, n]) =>
        h('span', null, dot(this.colorOf(c)), ` ${snap.classes[c]} ${num(n)}`),
      ),
    );
    setAttr(this.pager, 'hidden', pages < 2);
    setText(
      this.rangeLabel,
      `${num(this.page * perPage + 1)}–${num(this.page * perPage + shownImages.length)}`,
    );
    [...this.pager.querySelectorAll('button')].forEach((button, i) =>
      setAttr(button, 'disabled', i ? this.page >= pages - 1 : !this.page),
    );
    const focusedImage = /** @type {HTMLElement} */ (document.activeElement)?.dataset?.image;
    setChildren(
      this.grid,
      shownImages.map(({ it, pos, c }) => {
        const sheet = sheets.get(it);
        const name = `${snap.classes[c]}, iteration ${num(it + 1)}`;
        return h(
          'button',
          {
            type: 'button',
            class: 'one',
            'data-image': `${it}:${pos}`,
            'aria-label': name,
            'aria-pressed': String(selected?.it === it && selected.pos === pos),
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
    if (!focusedImage) return;
    /** @type {HTMLElement | null} */
    const node = this.grid.querySelector(`[data-image="${focusedImage}"]`);
    node?.focus();
  }
}
