// Moments of a run, counted in generator steps.

/** @import { Frame, Moment } from '../core/types.js' */

/**
 * Finds the moment after the given number of generator steps.
 * @param {number} at
 * @param {number} steps Per iteration.
 * @returns {Moment}
 */
export function momentAt(at, steps) {
  const iteration = Math.max(0, Math.ceil(at / steps) - 1);
  const step = at - iteration * steps;
  return { iteration, step: step >= steps ? steps : Math.max(0, step - 1) };
}

/**
 * Counts the iterations that are finished at a moment, including a replayed one that has reached
 * its end.
 * @param {Frame} frame
 * @returns {number}
 */
export const finishedAt = ({ finished, past, making }) =>
  finished + Number(Boolean(past && making && !making.early));
