// Which images of a class to show, and in which order: the `where` and `sort` parameters of the
// address. Follows the same rules as app/archive/samples.py.

import { GENERATOR, REWARD } from '../core/terms.js';

/** @import { Column, Condition, Sorting } from '../core/types.js' */

const NUMBER = /^-?\d*\.?\d*(?:e-?\d{1,2})?$/;
const MOST = 12;

/**
 * Columns for sorting and filtering images. `times` and `add` convert a value to what a person
 * types and reads (percent, counted from one).
 */
const OTHERS = [
  { name: 'it', title: 'iteration', add: 1 },
  { name: 'p', title: 'teacher confidence', times: 100, unit: '%' },
  { name: 's', title: 'student confidence', times: 100, unit: '%' },
  { name: 'judge', title: 'second-opinion confidence', times: 100, unit: '%', judge: true },
  { name: 'rank', title: 'second-opinion rank', judge: true },
  { name: 'side', title: 'resolution', unit: ' px' },
  { name: 'pool', title: 'pool membership' },
];
/** @type {Column[]} */
const ALL = [
  OTHERS[0],
  ...[...GENERATOR, REWARD].map(({ name, title }) => ({ name, title })),
  ...OTHERS.slice(1),
];

/**
 * Looks up a column; for a run's own term, only the name is known.
 * @param {string} name
 * @returns {Column}
 */
export const columnOf = (name) =>
  ALL.find((column) => column.name === name) ?? { name, title: name };

/** Is there such a column? `own`: the run's own terms. */
const isColumn = (name, own) =>
  ALL.some((column) => column.name === name) || own.some((term) => term.name === name);

/**
 * Selects the columns that a run has: the terms of its loss, a judge's answers if it has one, and
 * the rest.
 * @param {{ name: string, title?: string }[]} terms
 * @param {boolean} judged
 * @returns {Column[]}
 */
export const columnsOf = (terms, judged) => [
  OTHERS[0],
  ...terms.map(({ name, title }) => ({ name, title: title ?? name })),
  ...OTHERS.slice(1).filter(({ judge }) => !judge || judged),
];

/**
 * Reads conditions, such as "kr:0.5:2,p::0.9"; what is not a condition is left out.
 * @param {string | null} [text]
 * @param {{ name: string }[]} [own] The run's own terms.
 * @returns {Condition[]}
 */
export function parse(text, own = []) {
  return (text ?? '')
    .split(',')
    .map((part) => part.split(':'))
    .filter(
      ([name, low, high, ...more]) =>
        isColumn(name, own) && !more.length && NUMBER.test(low ?? '?') && NUMBER.test(high ?? '?'),
    )
    .map(([name, low, high]) => ({
      name,
      low: low === '' ? -Infinity : +low,
      high: high === '' ? Infinity : +high,
    }))
    .filter(({ low, high }) => !Number.isNaN(low) && !Number.isNaN(high))
    .slice(0, MOST);
}

/**
 * Writes a bound, with eight digits, in a form that this module and the server read: at most 16
 * characters before the exponent, which has at most two digits and no plus. What lies beyond, as no
 * 32-bit value does, becomes the nearest number within.
 */
function bound(v) {
  if (!Number.isFinite(v)) return '';
  const text = String(+v.toPrecision(8));
  if (text.length <= 16 && !text.includes('e')) return text;
  const [digits, power] = v.toExponential(7).split('e');
  if (+power > 99) return `${v < 0 ? '-' : ''}9.9999999e99`;
  return +power < -99 ? '0' : `${+digits}e${+power}`;
}

/**
 * Writes conditions.
 * @param {Condition[]} where
 * @returns {string}
 */
export const format = (where) =>
  where.map(({ name, low, high }) => `${name}:${bound(low)}:${bound(high)}`).join(',');

/**
 * Reads an order, such as "-kr"; anything else means by iteration.
 * @param {string | null} [text]
 * @param {{ name: string }[]} [own] The run's own terms.
 * @returns {Sorting}
 */
export function sorting(text, own = []) {
  const name = (text ?? '').replace(/^-/, '');
  return isColumn(name, own) ? { name, down: text.startsWith('-') } : { name: 'it', down: false };
}

/**
 * Converts a value to what a person reads.
 * @param {string} name
 * @param {number} v
 * @returns {number}
 */
export const typed = (name, v) => {
  const { times = 1, add = 0 } = columnOf(name);
  return +(v * times + add).toPrecision(6);
};

/**
 * Converts what a person types to a value.
 * @param {string} name
 * @param {number} v
 * @returns {number}
 */
export const meant = (name, v) => {
  const { times = 1, add = 0 } = columnOf(name);
  return +((v - add) / times).toPrecision(8);
};

/**
 * Describes a condition in words.
 * @param {Condition} condition
 * @returns {string}
 */
export function words({ name, low, high }) {
  const { title, unit = '' } = columnOf(name);
  const say = (v) => `${typed(name, v)}${unit}`;
  if (name === 'pool') return low > 0 ? 'in the pool' : 'not in the pool';
  if (low === high) return `${title} ${say(low)}`;
  return Number.isFinite(low)
    ? Number.isFinite(high)
      ? `${title} ${say(low)} to ${say(high)}`
      : `${title} ≥ ${say(low)}`
    : `${title} ≤ ${say(high)}`;
}

/**
 * Filters and sorts. An unknown value meets no condition and comes last; ties keep the order in
 * which the images were made.
 * @param {Record<string, (number | null)[]>} columns
 * @param {Condition[]} where
 * @param {Sorting} sorting
 * @param {number} [n] Only of the first n images.
 * @returns {number[]} Rows of the columns.
 */
export function choose(columns, where, { name, down }, n = columns.it.length) {
  const order = [];
  const fits = (i) =>
    where.every((c) => {
      const v = columns[c.name]?.[i];
      return v != null && v >= c.low && v <= c.high;
    });
  for (let i = 0; i < n; i++) if (fits(i)) order.push(i);
  const key = columns[name] ?? [];
  const sign = down ? -1 : 1;
  return order.sort((a, b) =>
    key[a] == null || key[b] == null
      ? Number(key[a] == null) - Number(key[b] == null)
      : sign * (key[a] - key[b]),
  );
}
