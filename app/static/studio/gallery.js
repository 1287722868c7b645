// Synthetic images: one row per class, one column group per iteration, with the current batch on
// the right. Each group is one lossless sheet; a tile is a button that shows its piece of it.

import { href } from '../core/address.js';
import { dot, h, num, pct, picture, put, setAttr, setText, whole } from '../core/dom.js';
import { camSheet } from '../store/groups.js';
import { mapNames } from '../core/terms.js';

/** @import { Changes, Frame, Group, ImageKey, Selection, Shown } from '../core/types.js' */
/** @import { Snapshot, Tile } from '../core/types.js' */
/** @import { Archive } from '../store/groups.js' */

const PAGE = 10;
const MOST = 5;
const BETWEEN = 16;
const ROOM = 28;
const LARGEST = 64;
const SMALLER = 52;
const LABEL = 24;
const NAMES = 84;
const NARROW = 480;

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
function placeSize(side, rows, columns, width, height) {
  if (side > LARGEST) {
    // a whole number of image pixels per screen pixel
    const size = side / Math.max(2, Math.round(side / SMALLER));
    return { size, row: Math.max(size + 4, Math.min(size + 18, Math.floor(height / rows))) };
  }
  const dense = window.devicePixelRatio || 1;
  const base = Math.max(1, Math.round((ROOM / side) * dense));
  const fits = (k) => {
    const size = (side * k) / dense;
    return (
      size <= LARGEST &&
      rows * (size + 8) <= height &&
      (columns + 2) * (size + 8) + 8 <= width - NAMES
    );
  };
  let k = base;
  while (fits(k + 1)) k += 1;
  const size = (side * k) / dense;
  return { size, row: Math.max(size + 4, 36, Math.min(size + 18, Math.floor(height / rows))) };
}

/**
 * Says how sure the teacher is; for a replayed image, this is only known at the end.
 * @param {Group} group
 * @param {Tile} tile
 * @returns {string}
 */
const sure = (group, tile) => (group.early ? 'in progress' : `${pct(tile.p)} sure`);

/** The gallery of synthetic images. */
export class Gallery {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {Archive} hooks.archive
   * @param {(at: ImageKey) => void} hooks.select
   * @param {(c: number) => number} hooks.colour
   * @param {(c: number | null) => void} hooks.isolate Dims every other class in the scatter plot.
   * @param {(c: number) => void} hooks.all Selects all images of a class.
   * @param {(changes: Changes) => void} hooks.inspect Turns to the Inspect page.
   */
  constructor(view, { archive, select, colour, isolate, all, inspect }) {
    this.archive = archive;
    this.select = select;
    this.colour = colour;
    this.isolate = isolate;
    this.all = all;
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
    this.over = this.panel.querySelector('[value=cam] + span');
    this.panel.addEventListener('change', ({ target }) => {
      const { name, value } = /** @type {HTMLInputElement} */ (target);
      if (name === 'kg-over') this.root.classList.toggle('cams', value === 'cam');
    });
    this.root.addEventListener('click', (e) => {
      const tile = this.#tile(e);
      if (tile) this.select({ it: tile.group.iteration, pos: tile.tile.pos });
    });
    this.root.addEventListener('keydown', (e) => this.#move(e));
    for (const [on, off] of [
      ['pointerover', 'pointerout'],
      ['focusin', 'focusout'],
    ]) {
      this.root.addEventListener(on, (e) => {
        const tile = this.#tile(e);
        if (
          tile &&
          (on !== 'focusin' || /** @type {HTMLElement} */ (e.target).matches(':focus-visible'))
        )
          this.#show(tile);
      });
      this.root.addEventListener(off, () => {
        this.peek.hidden = true;
      });
    }
    new ResizeObserver(() => this.last && this.root.clientWidth && this.draw(this.last)).observe(
      this.root,
    );
  }

  /**
   * Draws the newest iterations that fit.
   * @param {Shown} shown
   */
  draw(shown) {
    this.last = shown;
    const { snapshot: snap, moment: frame, selection } = shown;
    this.#turnTo(selection);
    this.#build(snap);
    const { short } = mapNames(snap);
    setText(this.over, `With ${short}`);
    setAttr(this.over.closest('.seg'), 'hidden', !short);
    const slots = this.columns.length;
    const groups = [];
    if (frame.making) groups.push(frame.making);
    for (let it = frame.finished - 1; it >= 0 && groups.length < slots; it--)
      groups.push(this.archive.group(it) ?? { iteration: it, coming: true });
    groups.reverse();
    this.columns.forEach((column, i) =>
      this.#fill(column, groups[i - slots + groups.length], snap, frame),
    );
    this.#mark(selection.at, selection.pinned);
    if (!this.peek.hidden) this.#keepPeek();
  }

  /** Turns to the class of an image, once, when a person has selected it. */
  #turnTo(/** @type {Selection} */ { at, pinned, image }) {
    if (!image || !pinned || this.turned === at) return;
    this.turned = at;
    this.page = Math.floor(image.c / PAGE);
  }

  #build(/** @type {Snapshot} */ snap) {
    if (!this.root.clientWidth && this.key) return; // hidden behind a selection
    const width = this.root.clientWidth - 8;
    const pages = Math.max(1, Math.ceil(snap.classes.length / PAGE));
    const narrow = width < NARROW;
    // then the panel is as tall as its content
    const stacked = matchMedia('(max-width: 1179px)').matches;
    const columns = Math.max(
      1,
      Math.min(MOST, Math.ceil(Math.max(...snap.scales.map((s) => s.batch)) / snap.classes.length)),
    );
    const side = Math.max(...snap.scales.map((s) => s.side));
    const { size, row } = placeSize(
      side,
      Math.min(PAGE, snap.classes.length),
      columns,
      width,
      stacked ? 0 : this.root.clientHeight - 8 - LABEL,
    );
    const gap = narrow ? 4 : 8;
    const group = columns * size + (columns - 1) * gap;
    const slots = Math.max(1, Math.floor((width - NAMES + BETWEEN - 2) / (group + BETWEEN)));
    // if only one group fits, also show part of the previous one
    const part =
      slots > 1
        ? 0
        : Math.min(columns - 1, Math.floor((width - NAMES - group - BETWEEN + gap) / (size + gap)));
    this.page = Math.min(this.page, pages - 1);
    const key = JSON.stringify([
      snap.run,
      snap.attempt,
      snap.classes,
      this.page,
      slots,
      part,
      columns,
      size,
      row,
    ]);
    if (key === this.key) return;
    this.key = key;
    this.range = [this.page * PAGE, Math.min(snap.classes.length, (this.page + 1) * PAGE)];
    const [from, to] = this.range;
    const rows = snap.classes.slice(from, to);
    this.columns = [...(part > 1 ? [part] : []), ...new Array(slots).fill(columns)].map((count) =>
      this.#column(to - from, count),
    );
    this.size = size;
    this.root.classList.toggle('fine', side > size);
    this.root.style.setProperty('--place', `${size}px`);
    this.root.style.setProperty('--row', `${row}px`);
    put(
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
                onclick: () => this.all(from + i),
              },
              dot(this.colour(from + i)),
            ),
            this.#name(snap, from + i, name),
          ),
        ),
      ),
      this.columns.map((column) => column.root),
    );
    this.pager.hidden = pages < 2;
    put(
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
                  this.draw(this.last);
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

  /** A class name; links to all its images if there is a run. */
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
      root: h('div', { class: 'grp', style: { '--count': count } }, tiles, label),
      tiles,
      label,
      count,
    };
  }

  #fill(column, group, /** @type {Snapshot} */ snap, /** @type {Frame} */ frame) {
    const { root, tiles, label, count } = column;
    const making = group && group === frame.making;
    const [from] = this.range;
    if (column.group === group && column.made === making && column.phase === snap.phase) return;
    const fresh = group && column.group?.iteration !== group.iteration;
    Object.assign(column, { group, made: making, phase: snap.phase });
    const sheet = group?.sheet;
    root.classList.toggle('none', !sheet);
    if (fresh) {
      root.classList.toggle('making', Boolean(making) && !group.replay);
    }
    root.style.setProperty('--sheet', sheet ? `url("${sheet}")` : 'none');
    root.style.setProperty(
      '--cams',
      sheet && group.map[0] && !group.early ? `url("${camSheet(group)}")` : 'none',
    );
    root.style.setProperty('--tile', `${group?.side ? whole(group.side, this.size) : this.size}px`);
    root.style.setProperty('--cols', group?.columns ?? MOST);
    root.style.setProperty('--rows', group?.rows ?? 1);
    const held = new Map(sheet ? group.tiles.map((t) => [`${t.c - from}:${t.col}`, t]) : []);
    tiles.forEach((button, i) => {
      const tile = held.get(`${Math.floor(i / count)}:${i % count}`);
      button.tile = tile ?? null;
      setAttr(button, 'disabled', !tile);
      button.style.setProperty('--y', tile?.row ?? 0);
      setAttr(
        button,
        'aria-label',
        tile
          ? `${snap.classes[tile.c]}, iteration ${group.iteration + 1}, ${sure(group, tile)}`
          : null,
      );
    });
    const stopped =
      making && !group.replay && ['failed', 'died', 'interrupted', 'stopped'].includes(snap.phase);
    const size = snap.scales.length > 1 && group?.side ? `${group.side} px` : '';
    setText(
      label,
      !group
        ? column === this.columns.at(-1) && snap.phase === 'empty'
          ? 'new images appear here'
          : ' '
        : making && group.step != null
          ? [
              size,
              group.replay
                ? `iteration ${num(group.iteration + 1)}`
                : size || stopped
                  ? ''
                  : 'in progress',
              `${stopped ? 'stopped at ' : ''}step ${group.step + 1} of ${group.steps}`,
            ]
              .filter(Boolean)
              .join(', ')
          : `iteration ${num(group.iteration + 1)}${size && `, ${size}`}`,
    );
    label.classList.toggle('on', Boolean(making));
  }

  #mark(chosen, pinned) {
    let stop = null;
    for (const column of this.columns)
      for (const button of column.tiles) {
        const here = Boolean(
          button.tile &&
          chosen &&
          column.group?.iteration === chosen.it &&
          button.tile.pos === chosen.pos,
        );
        setAttr(button, 'aria-pressed', button.tile ? String(here && pinned) : null);
        button.classList.toggle('chosen', here);
        if (here) stop = button;
        else if (button.tabIndex === 0 && document.activeElement !== button) button.tabIndex = -1;
      }
    stop ??= this.columns.flatMap((c) => c.tiles).findLast((b) => b.tile);
    if (stop && !this.root.contains(document.activeElement)) stop.tabIndex = 0;
  }

  #tile(event) {
    return this.#held(event.target.closest?.('.tile'));
  }

  /** What a button currently shows: {button, tile, group}, or null. */
  #held(button) {
    const column = button?.tile && this.columns.find((c) => c.tiles.includes(button));
    return column ? { button, tile: button.tile, group: column.group } : null;
  }

  #move(event) {
    const [dx, dy] =
      { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ??
      [];
    const at = this.#tile(event);
    if (!at || dx == null) return;
    event.preventDefault();
    const rows = Array.from({ length: this.range[1] - this.range[0] }, (_, y) =>
      this.columns.flatMap((c) => c.tiles.slice(y * c.count, (y + 1) * c.count)),
    );
    let y = rows.findIndex((row) => row.includes(at.button));
    let x = rows[y].indexOf(at.button);
    let next;
    do next = rows[(y += dy)]?.[(x += dx)];
    while (next && !next.tile); // skip gaps: a class may have fewer images than another
    if (!next) return;
    at.button.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  /** By now the tile under the pointer may show another image, or none. */
  #keepPeek() {
    const now = this.#held(this.peeked.button);
    if (!now) this.peek.hidden = true;
    else if (now.tile !== this.peeked.tile) this.#show(now);
  }

  /** On hover and focus: four times the size, overlaid with the CAM. */
  #show({ button, tile, group }) {
    this.peeked = { button, tile };
    const { snapshot: snap } = this.last;
    const place = { col: tile.col, row: tile.row, columns: group.columns, rows: group.rows };
    const size = whole(group.side, 112);
    const maps = group.early ? '' : camSheet(group); // maps are kept for finished images only
    put(
      this.peek,
      h(
        'div',
        { class: 'pic', style: { width: `${size}px`, height: `${size}px` } },
        picture({ url: group.sheet, ...place }, size),
        maps && picture({ url: maps, ...place }, size),
      ),
      h('b', null, `${snap.classes[tile.c]}, ${sure(group, tile)}`),
      h(
        'span',
        { class: 'muted' },
        `iteration ${num(group.iteration + 1)}, ${group.side} px${maps && `; blue: ${mapNames(snap).short}`}`,
      ),
    );
    this.peek.hidden = false;
    const at = button.getBoundingClientRect();
    const tall = this.peek.offsetHeight;
    this.peek.style.left = `${Math.max(8, Math.min(innerWidth - 148, at.left - 56))}px`;
    this.peek.style.top = `${at.top > tall + 56 ? at.top - tall - 8 : at.bottom + 8}px`;
  }
}
