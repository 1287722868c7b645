// The ladder's switches, presets, resolutions and weights are four views of one state: when a
// person changes one, the others are updated. Gradio's listeners call kgLadder.NAME(constants,
// ...values), which returns the new values.

/** @import { Ladder } from '../core/types.js' */

globalThis.kgLadder = (() => {
  const DEFAULTS = ['kr', 'ed', 'aed'];

  /**
   * Finds the rungs that these resolutions and weights correspond to, in ladder order.
   * @param {Ladder} C
   * @param {number[]} sides
   * @param {number} kr
   * @param {number} ed
   * @param {number} aed
   * @returns {string[]}
   */
  function rungsOf(C, sides, kr, ed, aed) {
    const on = [
      sides.length > 0 && Math.min(...sides) < C.full,
      kr > 0,
      ed > 0 || aed > 0,
      sides.length > 1,
    ];
    return C.rungs.filter((_, i) => on[i]);
  }

  /**
   * Selects a resolution and, for multi-resolution, the next larger one, or the next smaller one if
   * it is the largest.
   * @param {Ladder} C
   * @param {number} base
   * @param {boolean} multi
   * @returns {number[]}
   */
  function sidesFrom(C, base, multi) {
    if (!multi) return [base];
    const at = Math.min(C.sides.indexOf(base), C.sides.length - 2);
    return C.sides.slice(at, at + 2);
  }

  const state = (C, sides, kr, ed, aed) => [rungsOf(C, sides, kr, ed, aed), sides, kr, ed, aed];

  /**
   * Computes the weights from the switches. A switch that is off makes its weights zero. One that
   * is on keeps the current weights, or uses the paper's if they are zero.
   * @param {Ladder} C
   * @param {boolean} keyRegion
   * @param {boolean} diversity
   * @param {number} kr
   * @param {number} ed
   * @param {number} aed
   * @returns {number[]}
   */
  function weightsFrom(C, keyRegion, diversity, kr, ed, aed) {
    const weights = { kr, ed, aed };
    const apply = (on, names) => {
      if (!on || names.every((n) => !(weights[n] > 0)))
        for (const n of names) weights[n] = on ? C[n] : 0;
    };
    apply(keyRegion, ['kr']);
    apply(diversity, ['ed', 'aed']);
    return DEFAULTS.map((n) => weights[n]);
  }

  /**
   * Updates the state after a switch was flipped.
   * @param {Ladder} C
   * @param {string[]} rungs The switches that are on.
   * @param {number[]} sides
   * @param {number} kr
   * @param {number} ed
   * @param {number} aed
   * @returns {any[]} Rungs, resolutions and weights.
   */
  function flip(C, rungs, sides, kr, ed, aed) {
    const isOn = (i) => rungs.includes(C.rungs[i]);
    const smallest = sides.length ? Math.min(...sides) : C.full;
    const isMulti = sides.length > 1;
    let next = [...sides].sort((a, b) => a - b);
    if (isOn(0) !== smallest < C.full) next = isOn(0) ? sidesFrom(C, C.small, isOn(3)) : [C.full];
    else if (isOn(3) !== isMulti) next = sidesFrom(C, smallest, isOn(3));
    return state(C, next, ...weightsFrom(C, isOn(1), isOn(2), kr, ed, aed));
  }

  /**
   * Applies a preset: switches on all rungs up to it, and none beyond it.
   * @param {Ladder} C
   * @param {string} name
   * @param {number[]} sides
   * @param {number} kr
   * @param {number} ed
   * @param {number} aed
   * @returns {any[]} Rungs, resolutions and weights.
   */
  function preset(C, name, sides, kr, ed, aed) {
    const n = C.presets.indexOf(name);
    const smallest = sides.length ? Math.min(...sides) : C.full;
    const base = n < 1 ? C.full : smallest < C.full ? smallest : C.small;
    return state(C, sidesFrom(C, base, n > 3), ...weightsFrom(C, n > 1, n > 2, kr, ed, aed));
  }

  /**
   * Updates the rungs after resolutions or weights were changed by hand.
   * @param {Ladder} C
   * @param {number[]} sides
   * @param {number} kr
   * @param {number} ed
   * @param {number} aed
   * @returns {[string[]]} The rungs.
   */
  const seen = (C, sides, kr, ed, aed) => [rungsOf(C, sides, kr, ed, aed)];

  /**
   * Finds the preset that matches these rungs. It is null for any other combination, and without
   * the noisy layer that all presets share.
   * @param {Ladder} C
   * @param {string[]} rungs
   * @param {string} [source]
   * @returns {[string | null]}
   */
  const which = (C, rungs, source = 'noise') => [
    source === 'noise' && C.rungs.every((r, i) => rungs.includes(r) === i < rungs.length)
      ? C.presets[rungs.length]
      : null,
  ];

  /**
   * Uses the selected teacher's resolutions as soon as the class picker has loaded them
   * (globalThis.kgOffer).
   */
  const withTeacher =
    (action) =>
    (C, ...values) =>
      action({ ...C, ...globalThis.kgOffer }, ...values);

  return { flip: withTeacher(flip), preset: withTeacher(preset), seen: withTeacher(seen), which };
})();
