// Each loss term of an image compared with the rest of its batch: one strip of ticks per term, a
// marker for this image, and an explanation of its value.

import { h, math, num, pct, put, s, setText, signed, term } from '../core/dom.js';
import { weightOf } from '../core/terms.js';
import { roundEnd } from './ticks.js';

/** @import { ImageDetail, Recipe, StripFacts, Term } from '../core/types.js' */

const RIGHT = 0.98;
const BEYOND = 1.6;

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
const short = (v) => (Math.abs(v) >= 1000 ? num(v) : String(+v.toPrecision(3)).replace('-', '−'));

/**
 * Formats a value of a loss.
 * @param {number | null | undefined} v
 * @returns {string}
 */
export const value = (v) =>
  v == null
    ? '–'
    : Math.abs(v) >= 1000
      ? num(v)
      : Math.abs(v) >= 100
        ? signed(v, 1)
        : v !== 0 && Math.abs(v) < 0.01
          ? signed(v, 4)
          : signed(v, 2);

/** The range of a strip: it includes zero, and outliers are clipped to its ends. */
function range(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const low = sorted[0];
  const high = sorted.at(-1);
  const q = quantile(sorted, RIGHT);
  const r = quantile(sorted, 1 - RIGHT);
  const end = high > 0 ? roundEnd(high > BEYOND * q && q > 0 ? q : high) : 0;
  const begin = low < 0 ? -roundEnd(low < BEYOND * r && r < 0 ? -r : -low) : 0;
  return begin === end ? [0, 1] : [begin, end];
}

function strip(color, values, own, label) {
  const [low, high] = range(own == null ? values : [...values, own]);
  const at = (v) => 4 + (192 * (Math.min(high, Math.max(low, v)) - low)) / (high - low);
  const line = (v, y1, y2, more) => s('line', { x1: at(v), x2: at(v), y1, y2, ...more });
  return h(
    'div',
    { class: 'strip-plot', role: 'img', 'aria-label': label },
    s(
      'svg',
      { viewBox: '0 0 200 40', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      s('line', { class: 'axis', x1: 4, x2: 196, y1: 34, y2: 34 }),
      values.map((v) => line(v, 18, 34, { class: 'tick', style: { stroke: color } })),
      own == null ? null : line(own, 10, 34, { class: 'own' }),
    ),
    own == null ? null : h('i', { class: 'head', style: { left: `${at(own) / 2}%` } }),
    h('span', null, `${values.some((v) => v < low) ? '≤ ' : ''}${short(low)}`),
    h('span', null, `${values.some((v) => v > high) ? '≥ ' : ''}${short(high)}`),
  );
}

/**
 * Explains where the image stands within its batch.
 * @param {string} name Name of the term.
 * @param {number} v
 * @param {number} rank Share of the batch that is lower.
 * @param {StripFacts} facts
 * @returns {string}
 */
function because(name, v, rank, { image, nameOf, missing }) {
  const rival = image.teacher_top?.find((_, i) => i > 0 || image.p < 0.5);
  const low = rank < 1 / 3;
  const high = rank > 2 / 3;
  switch (name) {
    case 'ce':
      return high && rival
        ? `The teacher is less sure than for most: its other guess is ${nameOf(rival[0])} (${pct(rival[1])}).`
        : low
          ? 'The teacher is surer of this image than of most.'
          : 'The teacher is about as sure as for the others.';
    case 'kr':
      return v === 0
        ? 'The evidence reaches the target everywhere, so this term no longer has an effect.'
        : `Evidence is missing in ${num(missing.count)} of ${num(missing.missing.length)} cells (outlined)${high ? ', more than in most images' : ''}.`;
    case 'adv':
      return low
        ? 'Student and teacher disagree more than on most images. This term rewards that, so the image may look unusual.'
        : high
          ? 'The student answers almost like the teacher, so this term has little effect.'
          : 'Student and teacher disagree about as much as on the others.';
    case 'aed':
      return v === 0
        ? 'In the student’s embedding it is at least r_o away from its class, so it is not pushed.'
        : 'In the student’s embedding it is within r_o of its class, so it is pushed away from what the student already knows.';
    case 'tv':
      return high
        ? 'Neighboring pixels differ more than in most: more edges or more noise.'
        : low
          ? 'Smoother than most.'
          : 'About as smooth as the others.';
    case 'l2':
      return high
        ? 'Pixels are farther from the mean than in most: more contrast.'
        : low
          ? 'Lower contrast than most.'
          : 'About the same contrast as the others.';
    default:
      return '';
  }
}

/**
 * Draws one strip per term.
 * @param {HTMLElement} root
 * @param {Term[]} terms The run's terms.
 * @param {{ recipe: Recipe }} snap
 * @param {Record<string, number[]> | null | undefined} common Values of shared terms in other
 *   iterations; null until they arrive.
 * @param {StripFacts} facts
 */
export function draw(root, terms, snap, common, facts) {
  const { image, warm } = facts;
  put(
    root,
    terms
      .filter(({ name }) => image.batch[name])
      .map(({ name, title, tip, color }) => {
        const shared = image.shared.includes(name);
        const values = shared ? (common?.[name] ?? []) : image.batch[name];
        const own = image.parts[name];
        const lower = values.filter((v) => v < own).length;
        const idle = warm && ['adv', 'aed'].includes(name);
        const rank = shared
          ? 'of the whole batch'
          : own == null
            ? 'no value'
            : `${num(lower)} of ${num(values.length)} lower`;
        const why = idle
          ? 'Measured, but with no weight during warm-up: the student has not started training.'
          : shared
            ? 'One value for the whole batch, not per image. The ticks are other iterations.'
            : own == null
              ? ''
              : because(name, own, lower / Math.max(1, values.length), facts);
        return h(
          'div',
          { class: 'strip' },
          h(
            'div',
            null,
            term(
              title,
              `${tip} Weight in the loss: ${weightOf(snap, name)}${idle ? ' (0 during warm-up)' : ''}. ${shared ? 'One value for the whole batch; the ticks are other iterations.' : 'Each tick is an image of the batch.'}`,
            ),
            h('small', null, math('L', name)),
          ),
          strip(color, values, own, `${title} ${value(own)}, ${rank}`),
          h(
            'div',
            { class: 'num' },
            h('b', null, value(own)),
            h('small', null, shared ? 'whole batch' : rank.replace(/ of .*/, ' lower')),
          ),
          h('p', { class: 'because' }, why),
        );
      }),
  );
  if (!root.childElementCount)
    put(root, h('p', { class: 'small muted' }, 'This run did not save per-image loss terms.'));
}

/**
 * Shows the size of the image's batch.
 * @param {HTMLElement} node
 * @param {ImageDetail} image
 */
export const note = (node, image) => setText(node, `compared with its batch of ${num(image.n)}`);
