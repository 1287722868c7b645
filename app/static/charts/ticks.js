// Round numbers for axes.

/**
 * Rounds up to 1, 2, 5 or 10 times a power of ten.
 * @param {number} raw The smallest acceptable step.
 * @returns {number}
 */
function roundUp(raw) {
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * ([1, 2, 5].find((m) => m * power >= raw) ?? 10);
}

/**
 * A round step that divides a span into about `n` parts.
 * @param {number} span
 * @param {number} n
 * @returns {number}
 */
export const stepFor = (span, n) => roundUp(span / n);

/**
 * The multiples of a step within a range.
 * @param {number} low
 * @param {number} high
 * @param {number} by The step.
 * @returns {number[]}
 */
export const multiples = (low, high, by) =>
  Array.from(
    { length: Math.floor(high / by + 1e-9) - Math.ceil(low / by - 1e-9) + 1 },
    (_, i) => (Math.ceil(low / by - 1e-9) + i) * by,
  );

/**
 * About `n` round numbers within a range, free of rounding errors.
 * @param {number} low
 * @param {number} high
 * @param {number} n
 * @returns {number[]}
 */
export function ticks(low, high, n) {
  const by = roundUp((high - low) / n || 1);
  const out = [];
  for (let v = Math.ceil(low / by - 1e-9) * by; v <= high + 1e-9 * by; v += by)
    out.push(Math.abs(v) < by / 1e6 ? 0 : +v.toPrecision(12));
  return out;
}

/**
 * The round end of a scale that reaches a value: 1, 2, 5 or 10 times a power of ten.
 * @param {number} v
 * @returns {number} 1 if there is no positive value to reach.
 */
export function roundEnd(v) {
  if (!(v > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 5, 10].map((k) => k * power).find((end) => end >= v * 0.9999);
}
