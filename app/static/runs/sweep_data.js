// What the view of a sweep shows, computed from its runs. Pure functions.

/** @import { Sweep, SweepCell, SweepDimension, SweepRun } from '../core/types.js' */

/**
 * The fields that are varied, and the seed.
 * @param {Sweep} sweep
 * @returns {SweepDimension[]}
 */
export const dimensions = ({ axes, seeds }) => [
  ...axes,
  { field: 'seed', label: 'seed', values: seeds.map(String) },
];

/**
 * A run's position on a dimension, as an index into its values.
 * @param {Sweep} sweep
 * @param {SweepRun} run
 * @param {number} dimension
 * @returns {number}
 */
export const positionOf = (sweep, run, dimension) =>
  dimension < sweep.axes.length ? run.at[dimension] : sweep.seeds.indexOf(run.seed);

/**
 * The finished runs with a comparable result: accuracy on real images, or agreement with the
 * teacher if no run has real images.
 * @param {Sweep} sweep
 * @returns {SweepRun[]}
 */
export function finishedRuns({ runs }) {
  const tested = runs.filter((run) => run.state === 'done' && run.share != null);
  const real = tested.filter((run) => run.real);
  return real.length ? real : tested;
}

/**
 * Mean and sample standard deviation; null without enough values.
 * @param {number[]} shares
 * @returns {{ mean: number | null, deviation: number | null, n: number }}
 */
export function statistics(shares) {
  const n = shares.length;
  if (!n) return { mean: null, deviation: null, n };
  const mean = shares.reduce((sum, share) => sum + share, 0) / n;
  const squares = shares.reduce((sum, share) => sum + (share - mean) ** 2, 0);
  return { mean, deviation: n > 1 ? Math.sqrt(squares / (n - 1)) : null, n };
}

/**
 * The finished runs by their values of two dimensions, averaged over everything else.
 * @param {Sweep} sweep
 * @param {number} across
 * @param {number | null} down Null if there is only one dimension.
 * @returns {SweepCell[][]} One row per value of `down`.
 */
export function matrix(sweep, across, down) {
  const all = dimensions(sweep);
  const rows = down == null ? 1 : all[down].values.length;
  const runs = finishedRuns(sweep);
  return Array.from({ length: rows }, (_, y) =>
    all[across].values.map((_, x) =>
      statistics(
        runs
          .filter(
            (run) =>
              positionOf(sweep, run, across) === x &&
              (down == null || positionOf(sweep, run, down) === y),
          )
          .map((run) => run.share),
      ),
    ),
  );
}

/**
 * Which two dimensions the matrix shows: the requested ones if they exist and differ, else the
 * first ones.
 * @param {Sweep} sweep
 * @param {string | null} across
 * @param {string | null} down
 * @returns {[number, number | null]}
 */
export function matrixDimensions(sweep, across, down) {
  const fields = dimensions(sweep).map(({ field }) => field);
  const indexOr = (field, otherwise) =>
    fields.includes(field) ? fields.indexOf(field) : otherwise;
  const x = indexOr(across, indexOr(down, 0) === 0 && across == null && down === fields[0] ? 1 : 0);
  if (fields.length < 2) return [0, null];
  const y = indexOr(down, x === 0 ? 1 : 0);
  return [x, y === x ? (x === 0 ? 1 : 0) : y];
}

/**
 * A position between 0 and 1 on an axis with that many values; a single value is in the middle.
 * @param {number} index
 * @param {number} count
 * @returns {number}
 */
export const heightOf = (index, count) => (count > 1 ? index / (count - 1) : 0.5);

/**
 * The heights of runs on an axis. Runs with the same value are spread around it, in their order, so
 * that their lines do not hide each other.
 * @param {number[]} positions Of the runs.
 * @param {number} count How many values the axis has.
 * @returns {number[]}
 */
export function spreadHeights(positions, count) {
  const most = Math.min(0.06, 0.3 / Math.max(1, count - 1));
  const sizes = new Map();
  for (const position of positions) sizes.set(position, (sizes.get(position) ?? 0) + 1);
  const ranks = new Map();
  return positions.map((position) => {
    const size = sizes.get(position);
    const halfWidth = Math.min(most, 0.008 * size);
    const rank = ranks.get(position) ?? 0;
    ranks.set(position, rank + 1);
    return heightOf(position, count) + halfWidth * (2 * heightOf(rank, size) - 1);
  });
}

/**
 * A color between two others.
 * @param {[number, number, number]} low
 * @param {[number, number, number]} high
 * @param {number} share
 * @returns {string}
 */
export const mixed = (low, high, share) =>
  `rgb(${low.map((c, i) => Math.round(c + (high[i] - c) * share)).join(', ')})`;

/**
 * The parts of a color such as rgb(1, 2, 3) or #010203.
 * @param {string} color
 * @returns {[number, number, number]}
 */
export function channels(color) {
  const hex = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})/i.exec(color);
  const parts = hex
    ? hex.slice(1).map((pair) => parseInt(pair, 16))
    : (color.match(/[\d.]+/g) ?? []).map(Number);
  return [parts[0] ?? 0, parts[1] ?? 0, parts[2] ?? 0];
}
