// A grid of thousands of image tiles, of which only the visible ones are elements. A tile is a
// position on a contact sheet.

import { h, setAttr, setText, crispSize } from '../core/dom.js';

/** @import { GridTile } from '../core/types.js' */

const TARGET_SIZE = 56;
const THUMB = 64;
const GAP = 8;
const LABEL = 20;
const SPARE_ROWS = 2;

/**
 * Computes the side of an image on a contact sheet (app/archive/batchfile.py).
 * @param {number} side Side of the full image.
 * @returns {number}
 */
export const thumbnailSide = (side) => Math.ceil(side / Math.ceil(side / THUMB));

/** @typedef {{ index: number, tile?: GridTile, size?: number, transform?: string }} TileState */
/** @typedef {HTMLElement & TileState} GridNode */

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
    this.inner = host.querySelector('.image-grid-inner');
    this.open = open;
    this.describe = describe;
    /** @type {Map<number, GridNode>} */
    this.nodes = new Map();
    /** @type {GridNode[]} */
    this.unusedNodes = [];
    /** @type {GridTile[]} */
    this.tiles = [];
    this.tabStop = 0;
    this.frame = 0;
    this.main = host.closest('main');
    addEventListener('scroll', () => this.#scheduleDraw(), { capture: true, passive: true });
    new ResizeObserver(() => this.#scheduleDraw()).observe(host);
    host.addEventListener('click', (e) => {
      const tile = /** @type {HTMLElement} */ (e.target).closest('.grid-tile');
      if (tile) this.open(/** @type {GridNode} */ (tile).index);
    });
    host.addEventListener('keydown', (e) => this.#onKeydown(e));
    host.addEventListener('focusin', (e) => {
      const { index } = /** @type {GridNode} */ (e.target);
      if (index != null) this.#setTabStop(index);
    });
  }

  /**
   * Shows tiles. If tiles were only appended, the ones already drawn stay.
   * @param {GridTile[]} tiles
   * @param {string} key Changes with the tiles or their order, but not when tiles are appended.
   */
  show(tiles, key) {
    const same = key === this.key && tiles.length >= this.tiles.length;
    this.tiles = tiles;
    this.key = key;
    this.largestSide = Math.max(1, ...new Set(tiles.map((tile) => thumbnailSide(tile.side))));
    if (!same) {
      this.tabStop = 0;
      for (const node of this.nodes.values()) this.#release(node);
    }
    this.draw(!same);
  }

  #scheduleDraw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  /**
   * Draws the visible tiles.
   * @param {boolean} [force] Also redraw tiles that have not changed.
   */
  draw(force = false) {
    if (!this.host.clientWidth) return; // hidden
    const { largestSide } = this;
    const width = this.inner.clientWidth;
    const size = largestSide > TARGET_SIZE / 2 ? largestSide : crispSize(largestSide, TARGET_SIZE);
    const perRow = Math.max(1, Math.floor((width + GAP) / (size + GAP)));
    const rowHeight = size + GAP + LABEL;
    const pitch =
      perRow > 1 && this.tiles.length > perRow
        ? Math.min(size + 2 * GAP, Math.floor((width - size) / (perRow - 1)))
        : size + GAP; // whole pixels, so that pixels stay square
    this.size = size;
    this.perRow = perRow;
    this.rowHeight = rowHeight;
    this.pitch = pitch;
    this.inner.style.height = `${Math.ceil(this.tiles.length / perRow) * rowHeight}px`;
    this.inner.style.setProperty('--tile', `${size}px`);
    const top = this.inner.getBoundingClientRect().top;
    const clip = this.host.getBoundingClientRect();
    const from =
      perRow * Math.max(0, Math.floor((Math.max(clip.top, 0) - top) / rowHeight) - SPARE_ROWS);
    const to = Math.min(
      this.tiles.length,
      perRow * (Math.ceil((Math.min(clip.bottom, innerHeight) - top) / rowHeight) + SPARE_ROWS),
    );
    // reuse elements where they are: removing and reinserting them would cost more than everything
    // else
    const freeNodes = [];
    for (const [i, node] of this.nodes)
      if ((i < from || i >= to) && node !== document.activeElement) {
        this.nodes.delete(i);
        freeNodes.push(node);
      }
    for (let i = from; i < to; i++)
      this.#placeNode(this.nodes.get(i) ?? this.#acquire(i, freeNodes.pop()), i, force);
    for (const node of freeNodes) {
      node.remove();
      this.unusedNodes.push(node);
    }
  }

  #acquire(i, reused) {
    /** @type {any} */
    const node =
      reused ??
      this.unusedNodes.pop() ??
      h(
        'button',
        { type: 'button', class: 'grid-tile', tabindex: -1 },
        h('span', { class: 'grid-picture' }),
        h('small'),
      );
    this.nodes.set(i, node);
    node.index = i;
    node.tile = null;
    if (!reused) this.inner.append(node);
    return node;
  }

  #release(node) {
    this.nodes.delete(node.index);
    node.remove();
    this.unusedNodes.push(node);
  }

  #placeNode(node, i, force) {
    const { size, perRow, rowHeight, pitch } = this;
    const tile = this.tiles[i];
    const [picture, caption] = node.children;
    const x = (i % perRow) * pitch;
    const y = Math.floor(i / perRow) * rowHeight;
    const transform = `translate(${x}px, ${y}px)`;
    if (node.transform !== transform) node.style.transform = node.transform = transform;
    if (node.tabIndex !== -(i !== this.tabStop)) node.tabIndex = -(i !== this.tabStop);
    if (node.tile === tile && node.size === size && !force) return;
    Object.assign(node, { tile, size });
    const { sheet, index, side } = tile;
    const originalSize = thumbnailSide(side);
    const displayedSize = crispSize(originalSize, size);
    const k = displayedSize / originalSize;
    const { caption: text, label } = this.describe(i);
    Object.assign(picture.style, {
      width: `${displayedSize}px`,
      height: `${displayedSize}px`,
      imageRendering: side > THUMB ? 'auto' : 'pixelated',
      backgroundImage: `url("${sheet.url}")`,
      backgroundSize: `${sheet.columns * sheet.cell * k}px ${sheet.rows * sheet.cell * k}px`,
      backgroundPosition: `${-(index % sheet.columns) * sheet.cell * k}px ${-Math.floor(index / sheet.columns) * sheet.cell * k}px`,
    });
    setText(caption, text);
    setAttr(node, 'aria-label', label);
  }

  /** Makes this tile the only one that Tab stops at. */
  #setTabStop(i) {
    const old = this.nodes.get(this.tabStop);
    if (old) old.tabIndex = -1;
    this.tabStop = i;
    const node = this.nodes.get(i);
    if (node) node.tabIndex = 0;
  }

  #onKeydown(event) {
    const by = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.perRow,
      ArrowDown: this.perRow,
      Home: -this.tabStop,
      End: this.tiles.length - 1 - this.tabStop,
    }[event.key];
    const next = this.tabStop + by;
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
   * Scrolls to the i-th image and focuses it.
   * @param {number} i
   */
  focus(i) {
    this.#setTabStop(i);
    this.reveal(i);
    this.draw();
    this.nodes.get(i)?.focus({ preventScroll: true });
  }

  /**
   * Returns the focus to the i-th image without scrolling.
   * @param {number} i
   */
  restoreFocus(i) {
    this.#setTabStop(i);
    this.nodes.get(i)?.focus({ preventScroll: true });
  }

  /**
   * Scrolls until the i-th image is visible.
   * @param {number} i
   */
  reveal(i) {
    const scroller = this.scroller();
    const top =
      this.inner.getBoundingClientRect().top + Math.floor(i / this.perRow) * this.rowHeight;
    const page = scroller === document.scrollingElement;
    const { top: low, bottom: high } = page
      ? { top: 100, bottom: innerHeight }
      : scroller.getBoundingClientRect();
    if (top < low) scroller.scrollTop += top - low - GAP;
    else if (top + this.rowHeight > high) scroller.scrollTop += top + this.rowHeight - high + GAP;
  }

  /**
   * Finds the scrolling element: the grid itself or, on smaller screens, the page.
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
