// Which images are points of the scatter plot, where, and in which color.

import { finishedAt } from '../store/moments.js';

/** @import { Ball, CloudPoints, Frame, Point, Snapshot, StudentView } from '../core/types.js' */

const MOST = 6000;
const NEWEST = 4; // iterations that are always shown
const SHADES = 24;

/**
 * Which iterations have points: all of them, or as many as a browser can draw at once; those
 * already shown stay as more arrive.
 * @param {Snapshot} snap
 * @param {Frame} frame
 * @returns {{ list: number[], every: number }}
 */
export function iterationsOf(snap, frame) {
  const done = finishedAt(frame);
  const batch = Math.max(...snap.scales.map((s) => s.batch));
  if (snap.layout !== 'ready') return { list: [], every: 1 };
  let every = 1;
  while (Math.ceil(done / every) * batch > MOST) every *= 2;
  return {
    every,
    list: Array.from({ length: done }, (_, it) => it).filter(
      (it) => it % every === 0 || it >= done - NEWEST,
    ),
  };
}

/**
 * Makes the points of the synthetic images.
 * @param {Snapshot} snap
 * @param {object} from
 * @param {number[]} from.list Iterations.
 * @param {any[]} from.columns Of each iteration, as far as they have arrived.
 * @param {StudentView | null} from.seen
 * @param {boolean} from.student In the student's view rather than the teacher's.
 * @param {string} by What colors them.
 * @returns {CloudPoints}
 */
export function pointsOf(snap, { list, columns, seen, student }, by) {
  /** @type {CloudPoints} */
  const points = { n: 0, c: [], x: [], y: [], z: [], iteration: [], pos: [], value: [] };
  const byIteration = new Map(list.map((it, i) => [it, columns[i]]));
  const value = (it, pos) =>
    by === 'age'
      ? it
      : by === 'newest' || by === 'class'
        ? 0
        : (byIteration.get(it)?.[by]?.[pos] ?? NaN);
  const add = (from, i, c, it, pos) => {
    for (const axis of 'xyz') points[axis].push(from[axis][i]);
    points.c.push(c);
    points.iteration.push(it);
    points.pos.push(pos);
    points.value.push(value(it, pos));
  };
  if (student && seen)
    seen.c.forEach((c, i) => {
      if (c < snap.classes.length) add(seen, i, c, seen.iteration[i], seen.pos[i]);
    });
  if (!student)
    list.forEach((it, k) => columns[k]?.c.forEach((c, pos) => add(columns[k], pos, c, it, pos)));
  points.n = points.c.length;
  points.keys = points.iteration.map((it, i) => `${it}:${points.pos[i]}`);
  return points;
}

/**
 * Colors the points.
 * @param {CloudPoints} points
 * @param {string} by
 * @param {object} look
 * @param {string[]} look.palette By class.
 * @param {string} look.old
 * @param {string} look.fresh
 * @param {string} look.muted Of unknown values.
 * @param {number} newest Iteration.
 * @param {Point} ends Values that have the first and the last shade.
 * @returns {string[]}
 */
export function coloursOf(points, by, { palette, old, fresh, muted }, newest, [low, high]) {
  const ramp = shades(old, fresh);
  const shade = (v) =>
    Math.max(0, Math.min(SHADES - 1, Math.floor(((v - low) / (high - low || 1)) * SHADES)));
  return points.c.map((c, i) =>
    by === 'class'
      ? palette[c]
      : by === 'newest'
        ? points.iteration[i] === newest
          ? fresh
          : old
        : Number.isNaN(points.value[i])
          ? muted
          : ramp[shade(points.value[i])],
  );
}

/**
 * Makes the hollow points of the real images; none if their positions are not known.
 * @param {{ x?: number[], y?: number[], z?: number[] } | null | undefined} at
 * @param {number[]} c Their classes.
 * @param {boolean} student In the student's view rather than the teacher's.
 * @param {number | null} only The class that is not dimmed.
 * @param {(c: number) => string} colour
 * @returns {CloudPoints}
 */
export function realOf(at, c, student, only, colour) {
  if (!at?.x || (student && at.x.length !== c.length)) return { n: 0, c: [] };
  return {
    n: at.x.length,
    x: at.x,
    y: at.y,
    z: at.z ?? at.x.map(() => 0.5),
    c,
    colour: c.map(colour),
    faint: only == null ? null : c.map((k) => k !== only),
  };
}

/**
 * Makes the anchors of the student's view with their balls.
 * @param {StudentView} seen
 * @param {number | null} only The class that is not dimmed.
 * @param {string[]} palette By class.
 * @returns {Ball[]}
 */
export const ballsOf = ({ anchors, radii }, only, palette) =>
  (anchors?.x ?? []).map((x, k) => ({
    x,
    y: anchors.y[k],
    z: anchors.z[k],
    radii,
    colour: palette[k],
    faint: only != null && only !== k,
  }));

/**
 * Finds the 2nd and 98th percentiles, so that one outlier does not make all other values look
 * alike.
 * @param {number[]} values
 * @returns {Point}
 */
export function span(values) {
  const known = values.filter((v) => !Number.isNaN(v)).sort((a, b) => a - b);
  return known.length
    ? [known[Math.floor(0.02 * (known.length - 1))], known[Math.ceil(0.98 * (known.length - 1))]]
    : [0, 1];
}

/**
 * Makes a ramp of colors.
 * @param {string} from
 * @param {string} to
 * @returns {string[]}
 */
function shades(from, to) {
  const [a, b] = [from, to].map((text) => text.match(/[\d.]+/g).map(Number));
  return Array.from(
    { length: SHADES },
    (_, k) =>
      `rgb(${[0, 1, 2].map((i) => Math.round(a[i] + ((b[i] - a[i]) * k) / (SHADES - 1))).join(' ')})`,
  );
}
