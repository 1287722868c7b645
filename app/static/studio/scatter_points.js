// Selects the images in the scatter plot, and computes their positions and colors.

import { finishedAt } from '../store/moments.js';

/** @import { Ball, CloudPoints, Frame, Point, Snapshot, StudentView } from '../core/types.js' */

const MAX_POINTS = 6000;
const NEWEST_ITERATIONS = 4; // iterations that are always shown
const SHADES = 24;

/**
 * Which iterations have points: all of them, or as many as a browser can draw at once; those
 * already shown stay as more arrive.
 * @param {Snapshot} snap
 * @param {Frame} frame
 * @returns {{ iterations: number[], interval: number }}
 */
export function iterationsOf(snap, frame) {
  const done = finishedAt(frame);
  const batch = Math.max(...snap.scales.map((s) => s.batch));
  if (snap.layout !== 'ready') return { iterations: [], interval: 1 };
  let interval = 1;
  while (Math.ceil(done / interval) * batch > MAX_POINTS) interval *= 2;
  return {
    interval,
    iterations: Array.from({ length: done }, (_, it) => it).filter(
      (it) => it % interval === 0 || it >= done - NEWEST_ITERATIONS,
    ),
  };
}

/**
 * Makes the points of the synthetic images.
 * @param {Snapshot} snap
 * @param {object} from
 * @param {number[]} from.iterations Iterations.
 * @param {any[]} from.columns Of each iteration, as far as they have arrived.
 * @param {StudentView | null} from.studentView
 * @param {boolean} from.isStudentView In the student's view rather than the teacher's.
 * @param {string} colorBy What colors them.
 * @returns {CloudPoints}
 */
export function pointsOf(snap, { iterations, columns, studentView, isStudentView }, colorBy) {
  /** @type {CloudPoints} */
  const points = { n: 0, c: [], x: [], y: [], z: [], iteration: [], pos: [], value: [] };
  const byIteration = new Map(iterations.map((it, i) => [it, columns[i]]));
  const value = (it, pos) =>
    colorBy === 'age'
      ? it
      : colorBy === 'newest' || colorBy === 'class'
        ? 0
        : (byIteration.get(it)?.[colorBy]?.[pos] ?? NaN);
  const add = (from, i, c, it, pos) => {
    for (const axis of 'xyz') points[axis].push(from[axis][i]);
    points.c.push(c);
    points.iteration.push(it);
    points.pos.push(pos);
    points.value.push(value(it, pos));
  };
  if (isStudentView && studentView)
    studentView.c.forEach((c, i) => {
      if (c < snap.classes.length)
        add(studentView, i, c, studentView.iteration[i], studentView.pos[i]);
    });
  if (!isStudentView)
    iterations.forEach((it, k) =>
      columns[k]?.c.forEach((c, pos) => add(columns[k], pos, c, it, pos)),
    );
  points.n = points.c.length;
  points.keys = points.iteration.map((it, i) => `${it}:${points.pos[i]}`);
  return points;
}

/**
 * Colors the points.
 * @param {CloudPoints} points
 * @param {string} colorBy
 * @param {object} look
 * @param {string[]} look.palette By class.
 * @param {string} look.oldColor
 * @param {string} look.newestColor
 * @param {string} look.mutedColor Of unknown values.
 * @param {number} newest Iteration.
 * @param {Point} ends Values that have the first and the last shade.
 * @returns {string[]}
 */
export function colorsOf(
  points,
  colorBy,
  { palette, oldColor, newestColor, mutedColor },
  newest,
  [low, high],
) {
  const ramp = shades(oldColor, newestColor);
  const shade = (v) =>
    Math.max(0, Math.min(SHADES - 1, Math.floor(((v - low) / (high - low || 1)) * SHADES)));
  return points.c.map((c, i) =>
    colorBy === 'class'
      ? palette[c]
      : colorBy === 'newest'
        ? points.iteration[i] === newest
          ? newestColor
          : oldColor
        : Number.isNaN(points.value[i])
          ? mutedColor
          : ramp[shade(points.value[i])],
  );
}

/**
 * Makes the hollow points of the real images; none if their positions are unknown.
 * @param {{ x?: number[], y?: number[], z?: number[] } | null | undefined} positions
 * @param {number[]} c Their classes.
 * @param {boolean} isStudentView In the student's view rather than the teacher's.
 * @param {number | null} highlightedClass The class that is not dimmed.
 * @param {(c: number) => string} colorOf
 * @returns {CloudPoints}
 */
export function realOf(positions, c, isStudentView, highlightedClass, colorOf) {
  if (!positions?.x || (isStudentView && positions.x.length !== c.length)) return { n: 0, c: [] };
  return {
    n: positions.x.length,
    x: positions.x,
    y: positions.y,
    z: positions.z ?? positions.x.map(() => 0.5),
    c,
    colors: c.map(colorOf),
    dimmed: highlightedClass == null ? null : c.map((k) => k !== highlightedClass),
  };
}

/**
 * Makes the anchors of the student's view with their balls.
 * @param {StudentView} studentView
 * @param {number | null} highlightedClass The class that is not dimmed.
 * @param {string[]} palette By class.
 * @returns {Ball[]}
 */
export const ballsOf = ({ anchors, radii }, highlightedClass, palette) =>
  (anchors?.x ?? []).map((x, k) => ({
    x,
    y: anchors.y[k],
    z: anchors.z[k],
    radii,
    color: palette[k],
    dimmed: highlightedClass != null && highlightedClass !== k,
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
