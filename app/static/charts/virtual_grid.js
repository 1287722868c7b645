// Thousands of images as tiles; only the visible ones are elements. It knows positions on contact
// sheets, not what an image is.

import { h, setAttr, setText, whole } from '../core/dom.js';

/** @import { WallTile } from '../core/types.js' */

const ROOM = 56;
const THUMB = 64;
const GAP = 8;
const LABEL = 20;
const SPARE = 2;

/**
 * Computes the side of an image on a contact sheet (app/archive/batchfile.py).
 * @param {number} side Side of the full image.
 * @returns {number}
 */
export const thumb = (side) => Math.ceil(side / Math.ceil(side / THUMB));

/** @typedef {{ index: number, tile?: WallTile, size?: number, where?: string }} TileState */
/** @typedef {HTMLElement & TileState} WallNode */

/** A grid of image tiles; only the visible ones are elements. */
export class VirtualGrid {
  /**
   * @param {HTMLElement} host
   * @param {object} hooks
   * @param {(i: number) => void} hooks.open Called when the i-th image is selected.
   * @param {(i: number) => { label: string, caption: string }} hooks.describe Describes the i-th
   *   image.
   */
  constructor(host, { open, describe }) {
    this.host = host;
    /** @type {HTMLElement} */
    this.inner = host.querySelector('.wall-in');
    this.open = open;
    this.describe = describe;
    /** @type {Map<number, WallNode>} */
    this.nodes = new Map();
    /** @type {WallNode[]} */
    this.spare = [];
    /** @type {WallTile[]} */
    this.tiles = [];
    this.at = 0;
    this.frame = 0;
    this.main = host.closest('main');
    addEventListener('scroll', () => this.#soon(), { capture: true, passive: true });
    new ResizeObserver(() => this.#soon()).observe(host);
    host.addEventListener('click', (e) => {
      const tile = /** @type {HTMLElement} */ (e.target).closest('.w-tile');
      if (tile) this.open(/** @type {WallNode} */ (tile).index);
    });
    host.addEventListener('keydown', (e) => this.#move(e));
    host.addEventListener('focusin', (e) => {
      const { index } = /** @type {WallNode} */ (e.target);
      if (index != null) this.#stop(index);
    });
  }

  /**
   * Shows tiles; if only the end has grown, what is shown stays.
   * @param {WallTile[]} tiles
   * @param {string} key Changes when the tiles are others or in another order.
   */
  show(tiles, key) {
    // grown at its end: what is shown stays
    const same = key === this.key && tiles.length >= this.tiles.length;
    this.tiles = tiles;
    this.key = key;
    this.largest = Math.max(1, ...new Set(tiles.map((tile) => thumb(tile.side))));
    if (!same) {
      this.at = 0;
      for (const node of this.nodes.values()) this.#drop(node);
    }
    this.draw(!same);
  }

  #soon() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  /**
   * Draws what is in sight.
   * @param {boolean} [force] Redraw tiles that have not changed, too.
   */
  draw(force = false) {
    if (!this.host.clientWidth) return; // not shown
    const { largest } = this;
    const width = this.inner.clientWidth;
    const size = largest > ROOM / 2 ? largest : whole(largest, ROOM);
    const per = Math.max(1, Math.floor((width + GAP) / (size + GAP)));
    const row = size + GAP + LABEL;
    const pitch =
      per > 1 && this.tiles.length > per
        ? Math.min(size + 2 * GAP, Math.floor((width - size) / (per - 1)))
        : size + GAP; // whole pixels, so that pixels stay square
    this.size = size;
    this.per = per;
    this.row = row;
    this.pitch = pitch;
    this.inner.style.height = `${Math.ceil(this.tiles.length / per) * row}px`;
    this.inner.style.setProperty('--tile', `${size}px`);
    const top = this.inner.getBoundingClientRect().top;
    const clip = this.host.getBoundingClientRect();
    const from = per * Math.max(0, Math.floor((Math.max(clip.top, 0) - top) / row) - SPARE);
    const to = Math.min(
      this.tiles.length,
      per * (Math.ceil((Math.min(clip.bottom, innerHeight) - top) / row) + SPARE),
    );
    // moved, not taken out and put in again: that would cost the browser more than all the rest
    const free = [];
    for (const [i, node] of this.nodes)
      if ((i < from || i >= to) && node !== document.activeElement) {
        this.nodes.delete(i);
        free.push(node);
      }
    for (let i = from; i < to; i++)
      this.#place(this.nodes.get(i) ?? this.#take(i, free.pop()), i, force);
    for (const node of free) {
      node.remove();
      this.spare.push(node);
    }
  }

  #take(i, moved) {
    /** @type {any} */
    const node =
      moved ??
      this.spare.pop() ??
      h(
        'button',
        { type: 'button', class: 'w-tile', tabindex: -1 },
        h('span', { class: 'w-pic' }),
        h('small'),
      );
    this.nodes.set(i, node);
    node.index = i;
    node.tile = null;
    if (!moved) this.inner.append(node);
    return node;
  }

  #drop(node) {
    this.nodes.delete(node.index);
    node.remove();
    this.spare.push(node);
  }

  #place(node, i, force) {
    const { size, per, row, pitch } = this;
    const tile = this.tiles[i];
    const [picture, caption] = node.children;
    const x = (i % per) * pitch;
    const y = Math.floor(i / per) * row;
    const where = `translate(${x}px, ${y}px)`;
    if (node.where !== where) node.style.transform = node.where = where;
    if (node.tabIndex !== -(i !== this.at)) node.tabIndex = -(i !== this.at);
    if (node.tile === tile && node.size === size && !force) return;
    Object.assign(node, { tile, size });
    const { sheet, at, side } = tile;
    const own = thumb(side);
    const shown = whole(own, size);
    const k = shown / own;
    const { caption: text, label } = this.describe(i);
    Object.assign(picture.style, {
      width: `${shown}px`,
      height: `${shown}px`,
      imageRendering: side > THUMB ? 'auto' : 'pixelated',
      backgroundImage: `url("${sheet.url}")`,
      backgroundSize: `${sheet.columns * sheet.cell * k}px ${sheet.rows * sheet.cell * k}px`,
      backgroundPosition: `${-(at % sheet.columns) * sheet.cell * k}px ${-Math.floor(at / sheet.columns) * sheet.cell * k}px`,
    });
    setText(caption, text);
    setAttr(node, 'aria-label', label);
  }

  /** The one tile that Tab stops at. */
  #stop(i) {
    const old = this.nodes.get(this.at);
    if (old) old.tabIndex = -1;
    this.at = i;
    const node = this.nodes.get(i);
    if (node) node.tabIndex = 0;
  }

  #move(event) {
    const by = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.per,
      ArrowDown: this.per,
      Home: -this.at,
      End: this.tiles.length - 1 - this.at,
    }[event.key];
    const next = this.at + by;
    if (
      by == null ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      event.target.index == null ||
      !this.tiles[next]
    )
      return;
    event.preventDefault();
    this.focus(next);
  }

  /**
   * Brings the i-th image into sight and gives it the focus.
   * @param {number} i
   */
  focus(i) {
    this.#stop(i);
    this.reveal(i);
    this.draw();
    this.nodes.get(i)?.focus({ preventScroll: true });
  }

  /**
   * Gives the focus back to the i-th image without scrolling.
   * @param {number} i
   */
  resume(i) {
    this.#stop(i);
    this.nodes.get(i)?.focus({ preventScroll: true });
  }

  /**
   * Scrolls until the i-th image is in sight.
   * @param {number} i
   */
  reveal(i) {
    const scroller = this.scroller();
    const top = this.inner.getBoundingClientRect().top + Math.floor(i / this.per) * this.row;
    const page = scroller === document.scrollingElement;
    const { top: low, bottom: high } = page
      ? { top: 100, bottom: innerHeight }
      : scroller.getBoundingClientRect();
    if (top < low) scroller.scrollTop += top - low - GAP;
    else if (top + this.row > high) scroller.scrollTop += top + this.row - high + GAP;
  }

  /**
   * Finds what scrolls: the grid itself, or the page on smaller screens.
   * @returns {Element}
   */
  scroller() {
    return (
      [this.host, this.main].find(
        (node) =>
          getComputedStyle(node).overflowY === 'auto' && node.scrollHeight > node.clientHeight,
      ) ?? document.scrollingElement
    );
  }
}
