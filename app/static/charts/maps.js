// Renders maps as grids of numbers with captions, for the key region panel and the Inspect page.

import { cellText, h } from '../core/dom.js';

/** @import { Child } from '../core/types.js' */

const clamp = (v) => Math.min(1, Math.max(0, v));

/**
 * Computes the cell size so that map and image line up; where possible, an image pixel covers a
 * whole number of screen pixels.
 * @param {{ h: number, w: number }} map
 * @param {number} side Side of the image.
 * @param {number} available
 * @returns {number} CSS pixels.
 */
export function cellSize({ h: rows, w: columns }, side, available) {
  const n = Math.max(rows, columns);
  const step = (Number.isInteger(side / n) ? side / n : 1) / (window.devicePixelRatio || 1);
  const aligned = Math.floor(available / n / step) * step;
  // otherwise a map with few cells would be too small
  return aligned >= (0.8 * available) / n ? aligned : Math.max(1, Math.floor(available / n));
}

/**
 * Draws a map as a grid of numbers.
 * @param {string} kind Its CSS class.
 * @param {{ h: number, w: number }} map
 * @param {ArrayLike<number>} values
 * @param {ArrayLike<number> | null} outlined Cells with a positive value are outlined.
 * @param {string} label For screen readers.
 * @param {number} [max] The value at the end of the color scale.
 * @returns {HTMLElement}
 */
export function mapGrid(kind, { h: rows, w: columns }, values, outlined, label, max = 1) {
  const isOutlined = (r, c) =>
    r >= 0 && r < rows && c >= 0 && c < columns && outlined[r * columns + c] > 0;
  const edges = (r, c) =>
    !outlined || !isOutlined(r, c)
      ? ''
      : ' hinge' +
        (isOutlined(r - 1, c) ? '' : ' t') +
        (isOutlined(r, c + 1) ? '' : ' r') +
        (isOutlined(r + 1, c) ? '' : ' b') +
        (isOutlined(r, c - 1) ? '' : ' l');
  return h(
    'div',
    { class: `map ${kind}`, role: 'img', 'aria-label': label, style: { '--w': columns } },
    Array.from(values, (v, i) => {
      const text = cellText(v);
      return h(
        'i',
        {
          class: `${v < 0 ? 'neg' : ''}${edges(Math.floor(i / columns), i % columns)}${text.length > 3 ? ' long' : ''}`,
          style: { '--v': clamp(Math.abs(v) / max).toFixed(2) },
        },
        text,
      );
    }),
  );
}

/**
 * Adds a caption to a map.
 * @param {Child} title
 * @param {Child} note
 * @param {Child} body
 * @returns {HTMLElement}
 */
export const mapFigure = (title, note, body) =>
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
export const placeholder = (text) => h('div', { class: 'ghost' }, text);

/**
 * Computes the missing evidence (Eq. 6).
 * @param {ArrayLike<number>} target
 * @param {ArrayLike<number>} cam
 * @returns {{ missing: number[], count: number, sum: number }} Missing evidence per cell, the
 *   number of cells where any is missing, and the total.
 */
export function missingEvidence(target, cam) {
  const missing = Array.from(cam, (v, i) => Math.max(0, target[i] - v));
  return {
    missing,
    count: missing.filter((v) => v > 0).length,
    sum: missing.reduce((a, b) => a + b, 0),
  };
}
