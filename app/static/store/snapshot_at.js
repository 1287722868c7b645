// Computes the snapshot at an earlier moment, without anything that became known later.

import { num } from '../core/dom.js';

/** @import { Past, Snapshot } from '../core/types.js' */

/**
 * Keeps the rows that existed at a moment.
 * @template {{ at: number[] }} T
 * @param {T} curve
 * @param {number} at In generator steps.
 * @param {string[]} names Columns.
 * @returns {T}
 */
function rowsUntil(curve, at, names) {
  const n = curve.at.findLastIndex((step) => step <= at) + 1;
  return {
    ...curve,
    ...Object.fromEntries(
      ['images', 'at', ...names].map((name) => [name, curve[name].slice(0, n)]),
    ),
  };
}
const columns = (curve) => Object.keys(curve).filter((name) => !['images', 'at'].includes(name));

/**
 * Computes the snapshot at an earlier moment.
 * @param {Snapshot} snap
 * @param {Past | null} past Null means live.
 * @returns {Snapshot}
 */
export function snapshotAt(snap, past) {
  if (!past) return snap;
  const curve = rowsUntil(snap.curve, past.at, ['accuracy']);
  const last = past.accuracy === undefined ? (curve.accuracy.at(-1) ?? null) : past.accuracy;
  const used = past.used_images ?? 0;
  const steps = snap.recipe.generator_steps;
  const ended = past.step >= steps;
  if (last != null && curve.accuracy.at(-1) !== last) {
    // the curve is thinned, but the moment is exact
    curve.images.push(used);
    curve.at.push(past.at);
    curve.accuracy.push(last);
  }
  const totalSteps = snap.counters.generator_steps;
  return {
    ...snap,
    alert: null,
    replay: true,
    making: null,
    warnings: snap.marks
      .filter(([at, kind]) => kind === 'warning' && at <= past.at)
      .map(([, , text]) => ({ text })),
    progress: {
      label: `Iteration ${num(past.iteration + 1)} of ${num(snap.counters.iterations)}`,
      share: totalSteps ? past.at / totalSteps : 0,
      left_s: null,
      slowdown: null,
    },
    sentence: past.sentence ?? [
      { text: `Replay: iteration ${num(past.iteration + 1)} of ${num(snap.counters.iterations)}.` },
    ],
    counters: {
      ...snap.counters,
      generator_step: past.at,
      student_step: past.student_step ?? 0,
      iterations_done: past.iteration + Number(ended),
    },
    curve: { ...curve, last, n: past.n ?? snap.curve.n, final: false },
    loss: rowsUntil(snap.loss, past.at, columns(snap.loss)),
    student_loss: rowsUntil(snap.student_loss, past.at, columns(snap.student_loss)),
    opinion: rowsUntil(snap.opinion, past.at, columns(snap.opinion)),
    budget: { ...snap.budget, used_images: used, used: past.used ?? 0 },
  };
}
