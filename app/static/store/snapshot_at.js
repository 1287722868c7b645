// The snapshot as it would have been at an earlier moment: nothing that only later ones know is
// left in it.

import { num } from '../core/dom.js';

/**
 * The rows of a curve that were there: `at` is the moment, in generator steps, that a row came at.
 */
function until(curve, at, names) {
  const n = curve.at.findLastIndex((then) => then <= at) + 1;
  return {
    ...curve,
    ...Object.fromEntries(
      ['images', 'at', ...names].map((name) => [name, curve[name].slice(0, n)]),
    ),
  };
}
const columns = (curve) => Object.keys(curve).filter((name) => !['images', 'at'].includes(name));

/**
 * `then`: what the server knows of that moment ({at, iteration, student_step, used_images, used,
 * accuracy, n, sentence}), or as much as is here.
 */
export function snapshotAt(snap, then) {
  if (!then) return snap;
  const curve = until(snap.curve, then.at, ['accuracy']);
  const last = then.accuracy === undefined ? (curve.accuracy.at(-1) ?? null) : then.accuracy;
  const used = then.used_images ?? 0;
  const steps = snap.recipe.generator_steps;
  const ended = then.step >= steps;
  if (last != null && curve.accuracy.at(-1) !== last) {
    // the curve is thinned, the moment is exact
    curve.images.push(used);
    curve.at.push(then.at);
    curve.accuracy.push(last);
  }
  const whole = snap.counters.generator_steps;
  return {
    ...snap,
    alert: null,
    replay: true,
    making: null,
    warnings: snap.marks
      .filter(([at, kind]) => kind === 'warning' && at <= then.at)
      .map(([, , text]) => ({ text })),
    progress: {
      label: `Iteration ${num(then.iteration + 1)} of ${num(snap.counters.iterations)}`,
      share: whole ? then.at / whole : 0,
      left_s: null,
    },
    sentence: then.sentence ?? [
      { text: `Replay: iteration ${num(then.iteration + 1)} of ${num(snap.counters.iterations)}.` },
    ],
    counters: {
      ...snap.counters,
      generator_step: then.at,
      student_step: then.student_step ?? 0,
      iterations_done: then.iteration + ended,
    },
    curve: { ...curve, last, n: then.n ?? snap.curve.n, final: false },
    loss: until(snap.loss, then.at, columns(snap.loss)),
    student_loss: until(snap.student_loss, then.at, columns(snap.student_loss)),
    opinion: until(snap.opinion, then.at, columns(snap.opinion)),
    budget: { ...snap.budget, used_images: used, used: then.used ?? 0 },
  };
}
