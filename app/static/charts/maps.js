// Maps as grids of numbers, and their frames, for the key region panel and the Inspect page.

import { cell, h } from '../core/dom.js';

/** @import { Child } from '../core/types.js' */

const clamp = (v) => Math.min(1, Math.max(0, v));

/**
 * Computes the cell size so that map and image line up; where possible, an image pixel covers a
 * whole number of screen pixels.
 * @param {{ h: number, w: number }} map
 * @param {number} side Side of the image.
 * @param {number} room
 * @returns {number} CSS pixels.
 */
export function cellSize({ h: rows, w: columns }, side, room) {
  const n = Math.max(rows, columns);
  const grain = (Number.isInteger(side / n) ? side / n : 1) / (window.devicePixelRatio || 1);
  const aligned = Math.floor(room / n / grain) * grain;
  // otherwise a map with few cells would be too small
  return aligned >= (0.8 * room) / n ? aligned : Math.max(1, Math.floor(room / n));
}

/**
 * Draws a map as a grid of numbers.
 * @param {string} kind Its CSS class.
 * @param {{ h: number, w: number }} map
 * @param {ArrayLike<number>} values
 * @param {ArrayLike<number> | null} hinge Cells with a positive value are outlined.
 * @param {string} label For screen readers.
 * @param {number} [top] The value at the end of the color scale.
 * @returns {HTMLElement}
 */
export function grid(kind, { h: rows, w: columns }, values, hinge, label, top = 1) {
  const on = (r, c) => r >= 0 && r < rows && c >= 0 && c < columns && hinge[r * columns + c] > 0;
  const edges = (r, c) =>
    !hinge || !on(r, c)
      ? ''
      : ' hinge' +
        (on(r - 1, c) ? '' : ' t') +
        (on(r, c + 1) ? '' : ' r') +
        (on(r + 1, c) ? '' : ' b') +
        (on(r, c - 1) ? '' : ' l');
  return h(
    'div',
    { class: `map ${kind}`, role: 'img', 'aria-label': label, style: { '--w': columns } },
    Array.from(values, (v, i) => {
      const text = cell(v);
      return h(
        'i',
        {
          class: `${v < 0 ? 'neg' : ''}${edges(Math.floor(i / columns), i % columns)}${text.length > 3 ? ' long' : ''}`,
          style: { '--v': clamp(Math.abs(v) / top).toFixed(2) },
        },
        text,
      );
    }),
  );
}

/**
 * Frames a map with its title.
 * @param {Child} title
 * @param {Child} note
 * @param {Child} body
 * @returns {HTMLElement}
 */
export const figure = (title, note, body) =>
  h(
    'figure',
    { class: 'fig' },
    h('figcaption', null, h('span', null, title), h('small', null, note)),
    body,
  );

/**
 * Makes a placeholder where there is no map.
 * @param {string} text
 * @returns {HTMLElement}
 */
export const ghost = (text) => h('div', { class: 'ghost' }, text);

/**
 * Computes the missing evidence (Eq. 6).
 * @param {ArrayLike<number>} target
 * @param {ArrayLike<number>} cam
 * @returns {{ missing: number[], count: number, sum: number }} Missing evidence per cell, the
 *   number of cells that miss any, and the total.
 */
export function hinge(target, cam) {
  const missing = Array.from(cam, (v, i) => Math.max(0, target[i] - v));
  return {
    missing,
    count: missing.filter((v) => v > 0).length,
    sum: missing.reduce((a, b) => a + b, 0),
  };
}
