// The gallery of synthetic images: one row per class and one group of columns per iteration, with
// the current batch on the right. Each group is one lossless sheet; each tile is a button that
// shows a crop of it.

import { href } from '../core/address.js';
import {
  dot,
  h,
  num,
  pct,
  picture,
  setChildren,
  setAttr,
  setText,
  crispSize,
} from '../core/dom.js';
import { camSheet } from '../store/groups.js';
import { mapNames } from '../core/terms.js';

/** @import { Changes, Frame, Group, ImageKey, Selection, PanelState } from '../core/types.js' */
/** @import { Snapshot, Tile } from '../core/types.js' */
/** @import { Archive } from '../store/groups.js' */

const CLASSES_PER_PAGE = 10;
const MAX_COLUMNS = 5;
const GROUP_GAP = 16;
const TARGET_SIZE = 28;
const MAX_SIZE = 64;
const REDUCED_SIZE = 52;
const LABEL_HEIGHT = 24;
const NAMES_WIDTH = 84;
const NARROW_WIDTH = 480;

/**
 * Computes the sizes of the grid. An image pixel covers a whole number of screen pixels; tiles of
 * the largest images are close to 28 pixels, or larger if there are few classes. Smaller images are
 * centered in slots of the same size.
 * @param {number} side
 * @param {number} rows
 * @param {number} columns
 * @param {number} width
 * @param {number} height
 * @returns {{ size: number, row: number }} Side of a slot and height of a row, in CSS pixels.
 */
function slotSize(side, rows, columns, width, height) {
  if (side > MAX_SIZE) {
    // a whole number of image pixels per screen pixel
    const size = side / Math.max(2, Math.round(side / REDUCED_SIZE));
    return { size, row: Math.max(size + 4, Math.min(size + 18, Math.floor(height / rows))) };
  }
  const pixelRatio = window.devicePixelRatio || 1;
  const base = Math.max(1, Math.round((TARGET_SIZE / side) * pixelRatio));
  const fits = (k) => {
    const size = (side * k) / pixelRatio;
    return (
      size <= MAX_SIZE &&
      rows * (size + 8) <= height &&
      (columns + 2) * (size + 8) + 8 <= width - NAMES_WIDTH
    );
  };
  let k = base;
  while (fits(k + 1)) k += 1;
  const size = (side * k) / pixelRatio;
  return { size, row: Math.max(size + 4, 36, Math.min(size + 18, Math.floor(height / rows))) };
}

/**
 * Formats how sure the teacher is. During a replay, this is only known at the end.
 * @param {Group} group
 * @param {Tile} tile
 * @returns {string}
 */
const confidence = (group, tile) => (group.unfinished ? 'in progress' : `${pct(tile.p)} sure`);

/** The gallery of synthetic images. */
export class Gallery {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {Archive} hooks.archive
   * @param {(at: ImageKey) => void} hooks.select
   * @param {(c: number) => number} hooks.colorOf
   * @param {(c: number | null) => void} hooks.isolate Dims every other class in the scatter plot.
   * @param {(c: number) => void} hooks.selectClass Selects all images of a class.
   * @param {(changes: Changes) => void} hooks.inspect Goes to the Inspect page.
   */
  constructor(view, { archive, select, colorOf, isolate, selectClass, inspect }) {
    this.archive = archive;
    this.select = select;
    this.colorOf = colorOf;
    this.isolate = isolate;
    this.selectClass = selectClass;
    this.inspect = inspect;
    /** @type {HTMLElement} */
    this.panel = view.querySelector('.p-gallery');
    /** @type {HTMLElement} */
    this.peek = view.querySelector('.peek');
    this.page = 0;
    this.columns = [];
    /** @type {HTMLElement} */
    this.root = this.panel.querySelector('.gallery');
    /** @type {HTMLElement} */
    this.pager = this.panel.querySelector('.pager');
    /** @type {HTMLElement} */
    this.camLabel = this.panel.querySelector('[value=cam] + span');
    this.panel.addEventListener('change', ({ target }) => {
      const { name, value } = /** @type {HTMLInputElement} */ (target);
      if (name === 'kg-over') this.root.classList.toggle('cams', value === 'cam');
    });
    this.root.addEventListener('click', (e) => {
      const tile = this.#contentAt(e);
      if (tile) this.select({ it: tile.group.iteration, pos: tile.tile.pos });
    });
    this.root.addEventListener('keydown', (e) => this.#onKeydown(e));
    for (const [on, off] of [
      ['pointerover', 'pointerout'],
      ['focusin', 'focusout'],
    ]) {
      this.root.addEventListener(on, (e) => {
        const tile = this.#contentAt(e);
        if (
          tile &&
          (on !== 'focusin' || /** @type {HTMLElement} */ (e.target).matches(':focus-visible'))
        )
          this.#showPeek(tile);
      });
      this.root.addEventListener(off, () => {
        this.peek.hidden = true;
      });
    }
    new ResizeObserver(() => this.state && this.root.clientWidth && this.draw(this.state)).observe(
      this.root,
    );
  }

  /**
   * Draws as many of the newest iterations as fit.
   * @param {PanelState} state
   */
  draw(state) {
    this.state = state;
    const { snapshot: snap, moment: frame, selection } = state;
    this.#showPageOf(selection);
    this.#build(snap);
    const { short } = mapNames(snap);
    setText(this.camLabel, `With ${short}`);
    setAttr(this.camLabel.closest('.seg'), 'hidden', !short);
    const slots = this.columns.length;
    const groups = [];
    if (frame.current) groups.push(frame.current);
    for (let it = frame.finishedIterations - 1; it >= 0 && groups.length < slots; it--)
      groups.push(this.archive.group(it) ?? { iteration: it, isLoading: true });
    groups.reverse();
    this.columns.forEach((column, i) =>
      this.#fill(column, groups[i - slots + groups.length], snap, frame),
    );
    this.#markSelected(selection.imageKey, selection.pinned);
    if (!this.peek.hidden) this.#updatePeek();
  }

  /** Shows the page with the class of an image, once, after a person has selected it. */
  #showPageOf(/** @type {Selection} */ { imageKey, pinned, image }) {
    if (!image || !pinned || this.turnedTo === imageKey) return;
    this.turnedTo = imageKey;
    this.page = Math.floor(image.c / CLASSES_PER_PAGE);
  }

  #build(/** @type {Snapshot} */ snap) {
    if (!this.root.clientWidth && this.gridKey) return; // hidden behind a selection
    const width = this.root.clientWidth - 8;
    const pages = Math.max(1, Math.ceil(snap.classes.length / CLASSES_PER_PAGE));
    const isNarrow = width < NARROW_WIDTH;
    // then the panel is as tall as its content
    const isStacked = matchMedia('(max-width: 1179px)').matches;
    const columns = Math.max(
      1,
      Math.min(
        MAX_COLUMNS,
        Math.ceil(Math.max(...snap.scales.map((s) => s.batch)) / snap.classes.length),
      ),
    );
    const side = Math.max(...snap.scales.map((s) => s.side));
    const { size, row } = slotSize(
      side,
      Math.min(CLASSES_PER_PAGE, snap.classes.length),
      columns,
      width,
      isStacked ? 0 : this.root.clientHeight - 8 - LABEL_HEIGHT,
    );
    const gap = isNarrow ? 4 : 8;
    const groupWidth = columns * size + (columns - 1) * gap;
    const slots = Math.max(
      1,
      Math.floor((width - NAMES_WIDTH + GROUP_GAP - 2) / (groupWidth + GROUP_GAP)),
    );
    // if only one group fits, also show part of the previous one
    const partialColumns =
      slots > 1
        ? 0
        : Math.min(
            columns - 1,
            Math.floor((width - NAMES_WIDTH - groupWidth - GROUP_GAP + gap) / (size + gap)),
          );
    this.page = Math.min(this.page, pages - 1);
    const key = JSON.stringify([
      snap.run,
      snap.attempt,
      snap.classes,
      this.page,
      slots,
      partialColumns,
      columns,
      size,
      row,
    ]);
    if (key === this.gridKey) return;
    this.gridKey = key;
    this.range = [
      this.page * CLASSES_PER_PAGE,
      Math.min(snap.classes.length, (this.page + 1) * CLASSES_PER_PAGE),
    ];
    const [from, to] = this.range;
    const rows = snap.classes.slice(from, to);
    this.columns = [
      ...(partialColumns > 1 ? [partialColumns] : []),
      ...new Array(slots).fill(columns),
    ].map((count) => this.#column(to - from, count));
    this.size = size;
    this.root.classList.toggle('fine', side > size);
    this.root.style.setProperty('--place', `${size}px`);
    this.root.style.setProperty('--row', `${row}px`);
    setChildren(
      this.root,
      h(
        'div',
        { class: 'g-names' },
        rows.map((name, i) =>
          h(
            'span',
            {
              onpointerenter: () => this.isolate(from + i),
              onpointerleave: () => this.isolate(null),
            },
            h(
              'button',
              {
                type: 'button',
                class: 'all',
                'aria-label': `Select all images of ${name}`,
                'data-tip': `Select all images of ${name} and highlight them in the scatter plot`,
                onclick: () => this.selectClass(from + i),
              },
              dot(this.colorOf(from + i)),
            ),
            this.#name(snap, from + i, name),
          ),
        ),
      ),
      this.columns.map((column) => column.root),
    );
    this.pager.hidden = pages < 2;
    setChildren(
      this.pager,
      pages < 2
        ? null
        : [-1, 1].map((by) =>
            h(
              'button',
              {
                type: 'button',
                class: 'btn small',
                'aria-label': by < 0 ? 'Previous classes' : 'More classes',
                disabled: this.page + by < 0 || this.page + by >= pages,
                onclick: () => {
                  this.page += by;
                  this.draw(this.state);
                },
              },
              by < 0 ? '‹' : '›',
            ),
          ),
      pages < 2
        ? null
        : h(
            'span',
            { class: 'muted small' },
            `classes ${from + 1}–${to} of ${num(snap.classes.length)}`,
          ),
    );
  }

  /** Makes a class name, which links to all images of the class if there is a run. */
  #name(snap, c, name) {
    if (!snap.run) return h('span', { class: 'name', title: name }, name);
    const changes = { run: snap.run, class: c, sel: null };
    return h(
      'a',
      {
        class: 'name',
        title: `All images of ${name}`,
        href: href({ tab: 'inspect', ...changes }),
        onclick: (e) => {
          if (!(e.ctrlKey || e.metaKey || e.shiftKey)) {
            e.preventDefault();
            this.inspect(changes);
          }
        },
      },
      name,
    );
  }

  #column(rows, count) {
    const tiles = Array.from({ length: rows * count }, (_, i) =>
      h('button', {
        type: 'button',
        class: 'tile',
        tabindex: -1,
        disabled: true,
        style: { '--x': i % count },
      }),
    );
    const label = h('div', { class: 'g-label' });
    return {
      root: h('div', { class: 'image-group', style: { '--count': count } }, tiles, label),
      tiles,
      label,
      count,
    };
  }

  #fill(column, group, /** @type {Snapshot} */ snap, /** @type {Frame} */ frame) {
    const { root, tiles, label, count } = column;
    const isCurrent = group && group === frame.current;
    const [from] = this.range;
    if (column.group === group && column.isCurrent === isCurrent && column.phase === snap.phase)
      return;
    const isNew = group && column.group?.iteration !== group.iteration;
    Object.assign(column, { group, isCurrent, phase: snap.phase });
    const sheet = group?.sheet;
    root.classList.toggle('none', !sheet);
    if (isNew) {
      root.classList.toggle('making', Boolean(isCurrent) && !group.replay);
    }
    root.style.setProperty('--sheet', sheet ? `url("${sheet}")` : 'none');
    root.style.setProperty(
      '--cams',
      sheet && group.map[0] && !group.unfinished ? `url("${camSheet(group)}")` : 'none',
    );
    root.style.setProperty(
      '--tile',
      `${group?.side ? crispSize(group.side, this.size) : this.size}px`,
    );
    root.style.setProperty('--cols', group?.columns ?? MAX_COLUMNS);
    root.style.setProperty('--rows', group?.rows ?? 1);
    const tileAt = new Map(sheet ? group.tiles.map((t) => [`${t.c - from}:${t.col}`, t]) : []);
    tiles.forEach((button, i) => {
      const tile = tileAt.get(`${Math.floor(i / count)}:${i % count}`);
      button.tile = tile ?? null;
      setAttr(button, 'disabled', !tile);
      button.style.setProperty('--y', tile?.row ?? 0);
      setAttr(
        button,
        'aria-label',
        tile
          ? `${snap.classes[tile.c]}, iteration ${group.iteration + 1}, ${confidence(group, tile)}`
          : null,
      );
    });
    const isStopped =
      isCurrent &&
      !group.replay &&
      ['failed', 'died', 'interrupted', 'stopped'].includes(snap.phase);
    const size = snap.scales.length > 1 && group?.side ? `${group.side} px` : '';
    setText(
      label,
      !group
        ? column === this.columns.at(-1) && snap.phase === 'empty'
          ? 'new images appear here'
          : ' '
        : isCurrent && group.step != null
          ? [
              size,
              group.replay
                ? `iteration ${num(group.iteration + 1)}`
                : size || isStopped
                  ? ''
                  : 'in progress',
              `${isStopped ? 'stopped at ' : ''}step ${group.step + 1} of ${group.steps}`,
            ]
              .filter(Boolean)
              .join(', ')
          : `iteration ${num(group.iteration + 1)}${size && `, ${size}`}`,
    );
    label.classList.toggle('on', Boolean(isCurrent));
  }

  #markSelected(selected, pinned) {
    let tabStop = null;
    for (const column of this.columns)
      for (const button of column.tiles) {
        const isSelected = Boolean(
          button.tile &&
          selected &&
          column.group?.iteration === selected.it &&
          button.tile.pos === selected.pos,
        );
        setAttr(button, 'aria-pressed', button.tile ? String(isSelected && pinned) : null);
        button.classList.toggle('chosen', isSelected);
        if (isSelected) tabStop = button;
        else if (button.tabIndex === 0 && document.activeElement !== button) button.tabIndex = -1;
      }
    tabStop ??= this.columns.flatMap((c) => c.tiles).findLast((b) => b.tile);
    if (tabStop && !this.root.contains(document.activeElement)) tabStop.tabIndex = 0;
  }

  #contentAt(event) {
    return this.#contentOf(event.target.closest?.('.tile'));
  }

  /** Returns what a button currently shows: {button, tile, group}, or null. */
  #contentOf(button) {
    const column = button?.tile && this.columns.find((c) => c.tiles.includes(button));
    return column ? { button, tile: button.tile, group: column.group } : null;
  }

  #onKeydown(event) {
    const [dx, dy] =
      { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ??
      [];
    const content = this.#contentAt(event);
    if (!content || dx == null) return;
    event.preventDefault();
    const rows = Array.from({ length: this.range[1] - this.range[0] }, (_, y) =>
      this.columns.flatMap((c) => c.tiles.slice(y * c.count, (y + 1) * c.count)),
    );
    let y = rows.findIndex((row) => row.includes(content.button));
    let x = rows[y].indexOf(content.button);
    let next;
    do next = rows[(y += dy)]?.[(x += dx)];
    while (next && !next.tile); // skip gaps: a class may have fewer images than another
    if (!next) return;
    content.button.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  /** Updates the preview, because its tile may show another image by now, or none. */
  #updatePeek() {
    const content = this.#contentOf(this.peekContent.button);
    if (!content) this.peek.hidden = true;
    else if (content.tile !== this.peekContent.tile) this.#showPeek(content);
  }

  /** Shows an enlarged image with the CAM overlaid, on hover and focus. */
  #showPeek({ button, tile, group }) {
    this.peekContent = { button, tile };
    const { snapshot: snap } = this.state;
    const position = { col: tile.col, row: tile.row, columns: group.columns, rows: group.rows };
    const size = crispSize(group.side, 112);
    const maps = group.unfinished ? '' : camSheet(group); // maps are kept for finished images only
    setChildren(
      this.peek,
      h(
        'div',
        { class: 'pic', style: { width: `${size}px`, height: `${size}px` } },
        picture({ url: group.sheet, ...position }, size),
        maps && picture({ url: maps, ...position }, size),
      ),
      h('b', null, `${snap.classes[tile.c]}, ${confidence(group, tile)}`),
      h(
        'span',
        { class: 'muted' },
        `iteration ${num(group.iteration + 1)}, ${group.side} px${maps && `; blue: ${mapNames(snap).short}`}`,
      ),
    );
    this.peek.hidden = false;
    const box = button.getBoundingClientRect();
    const height = this.peek.offsetHeight;
    this.peek.style.left = `${Math.max(8, Math.min(innerWidth - 148, box.left - 56))}px`;
    this.peek.style.top = `${box.top > height + 56 ? box.top - height - 8 : box.bottom + 8}px`;
  }
}
