// Compares each loss term of an image with the rest of its batch: one strip of ticks per term, with
// a marker for this image and an explanation of its value.

import { h, num, pct, setChildren, s, setText, signed, term, termSymbol } from '../core/dom.js';
import { weightOf } from '../core/terms.js';
import { roundEnd } from './ticks.js';

/** @import { ImageDetail, Recipe, StripFacts, Term } from '../core/types.js' */

const CLIP_QUANTILE = 0.98;
const OUTLIER_FACTOR = 1.6;

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
const shortNumber = (v) =>
  Math.abs(v) >= 1000 ? num(v) : String(+v.toPrecision(3)).replace('-', '−');

/**
 * Formats a value of a loss.
 * @param {number | null | undefined} v
 * @returns {string}
 */
export const formatLoss = (v) =>
  v == null
    ? '–'
    : Math.abs(v) >= 1000
      ? num(v)
      : Math.abs(v) >= 100
        ? signed(v, 1)
        : v !== 0 && Math.abs(v) < 0.01
          ? signed(v, 4)
          : signed(v, 2);

/** The range of a strip. It includes zero; outliers are clipped to its ends. */
function range(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const low = sorted[0];
  const high = sorted.at(-1);
  const q = quantile(sorted, CLIP_QUANTILE);
  const r = quantile(sorted, 1 - CLIP_QUANTILE);
  const end = high > 0 ? roundEnd(high > OUTLIER_FACTOR * q && q > 0 ? q : high) : 0;
  const start = low < 0 ? -roundEnd(low < OUTLIER_FACTOR * r && r < 0 ? -r : -low) : 0;
  return start === end ? [0, 1] : [start, end];
}

function strip(color, values, imageValue, label) {
  const [low, high] = range(imageValue == null ? values : [...values, imageValue]);
  const at = (v) => 4 + (192 * (Math.min(high, Math.max(low, v)) - low)) / (high - low);
  const line = (v, y1, y2, props) => s('line', { x1: at(v), x2: at(v), y1, y2, ...props });
  return h(
    'div',
    { class: 'strip-plot', role: 'img', 'aria-label': label },
    s(
      'svg',
      { viewBox: '0 0 200 40', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      s('line', { class: 'axis', x1: 4, x2: 196, y1: 34, y2: 34 }),
      values.map((v) => line(v, 18, 34, { class: 'tick', style: { stroke: color } })),
      imageValue == null ? null : line(imageValue, 10, 34, { class: 'own' }),
    ),
    imageValue == null
      ? null
      : h('i', { class: 'head', style: { left: `${at(imageValue) / 2}%` } }),
    h('span', null, `${values.some((v) => v < low) ? '≤ ' : ''}${shortNumber(low)}`),
    h('span', null, `${values.some((v) => v > high) ? '≥ ' : ''}${shortNumber(high)}`),
  );
}

/**
 * Explains how the image compares with its batch.
 * @param {string} name Name of the term.
 * @param {number} v
 * @param {number} rank Share of the batch that is lower.
 * @param {StripFacts} facts
 * @returns {string}
 */
function explain(name, v, rank, { image, nameOf, missing }) {
  const runnerUp = image.teacher_top?.find((_, i) => i > 0 || image.p < 0.5);
  const isLow = rank < 1 / 3;
  const isHigh = rank > 2 / 3;
  switch (name) {
    case 'ce':
      return isHigh && runnerUp
        ? `The teacher is less sure of this image than of most: its second guess is ${nameOf(runnerUp[0])} (${pct(runnerUp[1])}).`
        : isLow
          ? 'The teacher is surer of this image than of most.'
          : 'The teacher is about as sure of this image as of the others.';
    case 'kr':
      return v === 0
        ? 'The evidence reaches the target everywhere, so this term no longer has an effect.'
        : `Evidence is missing in ${num(missing.count)} of ${num(missing.missing.length)} cells (outlined)${isHigh ? ', more than in most images' : ''}.`;
    case 'adv':
      return isLow
        ? 'Student and teacher disagree more than on most images. This term rewards disagreement, so the image may look unusual.'
        : isHigh
          ? 'The student’s predictions are close to the teacher’s, so this term has little effect.'
          : 'Student and teacher disagree about as much as on the other images.';
    case 'aed':
      return v === 0
        ? 'In the student’s embedding, the image is at least r_o away from its class, so it is not pushed.'
        : 'In the student’s embedding, the image is within r_o of its class, so it is pushed away from what the student already knows.';
    case 'tv':
      return isHigh
        ? 'Neighboring pixels differ more than in most images: this image has more edges or more noise.'
        : isLow
          ? 'Smoother than most images.'
          : 'About as smooth as the other images.';
    case 'l2':
      return isHigh
        ? 'Pixels are farther from the mean than in most images: this image has more contrast.'
        : isLow
          ? 'Lower contrast than most images.'
          : 'About the same contrast as the other images.';
    default:
      return '';
  }
}

/**
 * Draws one strip per term.
 * @param {HTMLElement} root
 * @param {Term[]} terms The run's terms.
 * @param {{ recipe: Recipe }} snap
 * @param {Record<string, number[]> | null | undefined} sharedValues Values of shared terms in other
 *   iterations; null until they arrive.
 * @param {StripFacts} facts
 */
export function draw(root, terms, snap, sharedValues, facts) {
  const { image, inWarmup } = facts;
  setChildren(
    root,
    terms
      .filter(({ name }) => image.batch[name])
      .map(({ name, symbol, title, tip, color, needs }) => {
        const isShared = image.shared.includes(name);
        const values = isShared ? (sharedValues?.[name] ?? []) : image.batch[name];
        const imageValue = image.parts[name];
        const lowerCount = values.filter((v) => v < imageValue).length;
        const isUnweighted = inWarmup && needs?.includes('student');
        const rank = isShared
          ? 'of the whole batch'
          : imageValue == null
            ? 'no value'
            : `${num(lowerCount)} of ${num(values.length)} lower`;
        const explanation = isUnweighted
          ? 'Measured, but with no weight during warm-up: the student has not started training.'
          : isShared
            ? 'One value for the whole batch, not per image. The ticks show other iterations.'
            : imageValue == null
              ? ''
              : explain(name, imageValue, lowerCount / Math.max(1, values.length), facts);
        return h(
          'div',
          { class: 'strip' },
          h(
            'div',
            null,
            term(
              title,
              `${tip} Weight in the loss: ${weightOf(snap, name)}${isUnweighted ? ' (0 during warm-up)' : ''}. ${isShared ? 'One value for the whole batch. The ticks show other iterations.' : 'Each tick is an image of the batch.'}`,
            ),
            h('small', null, termSymbol({ name, symbol })),
          ),
          strip(color, values, imageValue, `${title} ${formatLoss(imageValue)}, ${rank}`),
          h(
            'div',
            { class: 'num' },
            h('b', null, formatLoss(imageValue)),
            h('small', null, isShared ? 'whole batch' : rank.replace(/ of .*/, ' lower')),
          ),
          h('p', { class: 'explanation' }, explanation),
        );
      }),
  );
  if (!root.childElementCount)
    setChildren(
      root,
      h('p', { class: 'small muted' }, 'This run did not save per-image loss terms.'),
    );
}

/**
 * Shows the size of the image's batch.
 * @param {HTMLElement} node
 * @param {ImageDetail} image
 */
export const drawBatchSize = (node, image) =>
  setText(node, `compared with its batch of ${num(image.n)}`);
