// Encodes a lasso for the address: a polygon in layout coordinates, so that a link selects the same
// images on any screen.

/** @import { Polygon } from '../core/types.js' */

const MAX_CORNERS = 40;
const MIN = -8;
const MAX = 9;
const DIGITS = 4;
const STEPS = 36 ** DIGITS - 1; // from MIN to MAX; a step is a fraction of a pixel

/**
 * Reduces a polygon to at most MAX_CORNERS corners, removing those that change its area least first
 * (Visvalingam and Whyatt).
 * @param {Polygon} polygon
 * @returns {Polygon}
 */
export function simplify(polygon) {
  const corners = [...polygon];
  const area = (i) => {
    const [[ax, ay], [bx, by], [cx, cy]] = [
      corners.at(i - 1),
      corners[i],
      corners[(i + 1) % corners.length],
    ];
    return Math.abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay));
  };
  while (corners.length > MAX_CORNERS) {
    let least = 0;
    for (let i = 1; i < corners.length; i += 1) if (area(i) < area(least)) least = i;
    corners.splice(least, 1);
  }
  return corners;
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
      Math.round(((Math.max(MIN, Math.min(MAX, v)) - MIN) / (MAX - MIN)) * STEPS)
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
    .map((letters) => MIN + (parseInt(letters, 36) / STEPS) * (MAX - MIN));
  return Array.from({ length: numbers.length / 2 }, (_, i) => [numbers[2 * i], numbers[2 * i + 1]]);
}

/**
 * Finds the points inside a polygon (even–odd rule).
 * @param {Polygon} polygon
 * @param {ArrayLike<number>} xs
 * @param {ArrayLike<number>} ys
 * @returns {number[]} Their indices.
 */
export function pointsInside(polygon, xs, ys) {
  const inside = [];
  for (let i = 0; i < xs.length; i += 1) {
    let isInside = false;
    polygon.forEach(([ax, ay], k) => {
      const [bx, by] = polygon.at(k - 1);
      if (ay > ys[i] !== by > ys[i] && xs[i] < ((bx - ax) * (ys[i] - ay)) / (by - ay) + ax)
        isInside = !isInside;
    });
    if (isInside) inside.push(i);
  }
  return inside;
}
