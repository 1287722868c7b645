// Moments of a run, counted in generator steps.

/** @import { Frame, Moment } from '../core/types.js' */

/**
 * Finds the moment after the given number of generator steps.
 * @param {number} stepsDone
 * @param {number} steps Per iteration.
 * @returns {Moment}
 */
export function momentAt(stepsDone, steps) {
  const iteration = Math.max(0, Math.ceil(stepsDone / steps) - 1);
  const step = stepsDone - iteration * steps;
  return { iteration, step: step >= steps ? steps : Math.max(0, step - 1) };
}

/**
 * Counts the iterations that are finished at a moment, including a replayed one that has reached
 * its end.
 * @param {Frame} frame
 * @returns {number}
 */
export const finishedAt = ({ finishedIterations, past, current }) =>
  finishedIterations + Number(Boolean(past && current && !current.unfinished));
