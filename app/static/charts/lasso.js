// A lasso as part of an address: a polygon in layout coordinates, so that a link selects the same
// images on any screen.

/** @import { Polygon } from '../core/types.js' */

const MOST = 40; // corners
const LOW = -8;
const HIGH = 9;
const DIGITS = 4;
const STEPS = 36 ** DIGITS - 1; // a fraction of a pixel, far beyond the largest zoom's frame

/**
 * Reduces a polygon to at most MOST corners, removing those that change its area least first
 * (Visvalingam and Whyatt).
 * @param {Polygon} polygon
 * @returns {Polygon}
 */
export function simple(polygon) {
  const kept = [...polygon];
  const area = (i) => {
    const [[ax, ay], [bx, by], [cx, cy]] = [kept.at(i - 1), kept[i], kept[(i + 1) % kept.length]];
    return Math.abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay));
  };
  while (kept.length > MOST) {
    let least = 0;
    for (let i = 1; i < kept.length; i += 1) if (area(i) < area(least)) least = i;
    kept.splice(least, 1);
  }
  return kept;
}

/**
 * Writes a polygon as text, eight characters per corner.
 * @param {Polygon} polygon
 * @returns {string}
 */
export const write = (polygon) =>
  polygon
    .flat()
    .map((v) =>
      Math.round(((Math.max(LOW, Math.min(HIGH, v)) - LOW) / (HIGH - LOW)) * STEPS)
        .toString(36)
        .padStart(DIGITS, '0'),
    )
    .join('');

/**
 * Reads a polygon from text.
 * @param {string} text
 * @returns {Polygon}
 */
export function read(text) {
  const numbers = text
    .match(/.{4}/g)
    .map((letters) => LOW + (parseInt(letters, 36) / STEPS) * (HIGH - LOW));
  return Array.from({ length: numbers.length / 2 }, (_, i) => [numbers[2 * i], numbers[2 * i + 1]]);
}

/**
 * Finds the points inside a polygon (even–odd rule).
 * @param {Polygon} polygon
 * @param {ArrayLike<number>} xs
 * @param {ArrayLike<number>} ys
 * @returns {number[]} Their indices.
 */
export function within(polygon, xs, ys) {
  const found = [];
  for (let i = 0; i < xs.length; i += 1) {
    let odd = false;
    polygon.forEach(([ax, ay], k) => {
      const [bx, by] = polygon.at(k - 1);
      if (ay > ys[i] !== by > ys[i] && xs[i] < ((bx - ax) * (ys[i] - ay)) / (by - ay) + ax)
        odd = !odd;
    });
    if (odd) found.push(i);
  }
  return found;
}
