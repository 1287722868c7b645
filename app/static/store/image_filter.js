// Selects and sorts the images of a class: the `where` and `sort` parameters of the address.
// Follows the same rules as app/archive/samples.py.

import { GENERATOR, REWARD } from '../core/terms.js';

/** @import { Column, Condition, Sorting } from '../core/types.js' */

const BOUND = /^-?\d*\.?\d*(?:e-?\d{1,2})?$/;
const MAX_CONDITIONS = 12;

/**
 * Columns for sorting and filtering images. `scale` and `offset` convert a value to what people
 * type and read (percent, counted from one).
 */
/** @type {Column[]} */
const OTHER_COLUMNS = [
  { name: 'it', title: 'iteration', offset: 1 },
  { name: 'p', title: 'teacher confidence', scale: 100, unit: '%' },
  { name: 's', title: 'student confidence', scale: 100, unit: '%' },
  { name: 'judge', title: 'second-opinion confidence', scale: 100, unit: '%', judge: true },
  { name: 'rank', title: 'second-opinion rank', judge: true },
  { name: 'side', title: 'resolution', unit: ' px' },
  { name: 'pool', title: 'pool membership' },
];
/** @type {Column[]} */
const ALL_COLUMNS = [
  OTHER_COLUMNS[0],
  ...[...GENERATOR, REWARD].map(({ name, title }) => ({ name, title })),
  ...OTHER_COLUMNS.slice(1),
];

/**
 * Looks up a column. For a custom term, only the name is known.
 * @param {string} name
 * @returns {Column}
 */
export const columnOf = (name) =>
  ALL_COLUMNS.find((column) => column.name === name) ?? { name, title: name };

/** Does this column exist? */
const isColumn = (name, customTerms) =>
  ALL_COLUMNS.some((column) => column.name === name) ||
  customTerms.some((term) => term.name === name);

/**
 * Lists the columns of a run: its loss terms, the judge's opinion if it has a judge, and the
 * others.
 * @param {{ name: string, title?: string }[]} terms
 * @param {boolean} hasJudge
 * @returns {Column[]}
 */
export const columnsOf = (terms, hasJudge) => [
  OTHER_COLUMNS[0],
  ...terms.map(({ name, title }) => ({ name, title: title ?? name })),
  ...OTHER_COLUMNS.slice(1).filter(({ judge }) => !judge || hasJudge),
];

/**
 * Parses conditions, such as "kr:0.5:2,p::0.9". Invalid ones are dropped.
 * @param {string | null} [text]
 * @param {{ name: string }[]} [customTerms] The run's custom terms.
 * @returns {Condition[]}
 */
export function parse(text, customTerms = []) {
  return (text ?? '')
    .split(',')
    .map((part) => part.split(':'))
    .filter(
      ([name, low, high, ...more]) =>
        isColumn(name, customTerms) &&
        !more.length &&
        BOUND.test(low ?? '?') &&
        BOUND.test(high ?? '?'),
    )
    .map(([name, low, high]) => ({
      name,
      low: low === '' ? -Infinity : +low,
      high: high === '' ? Infinity : +high,
    }))
    .filter(({ low, high }) => !Number.isNaN(low) && !Number.isNaN(high))
    .slice(0, MAX_CONDITIONS);
}

/**
 * Formats a bound, with eight digits, so that this module and the server can parse it: at most 16
 * characters before the exponent, which has at most two digits and no plus sign. Values outside
 * this range, which no 32-bit value reaches, become the nearest value within it.
 */
function formatBound(v) {
  if (!Number.isFinite(v)) return '';
  const text = String(+v.toPrecision(8));
  if (text.length <= 16 && !text.includes('e')) return text;
  const [mantissa, exponent] = v.toExponential(7).split('e');
  if (+exponent > 99) return `${v < 0 ? '-' : ''}9.9999999e99`;
  return +exponent < -99 ? '0' : `${+mantissa}e${+exponent}`;
}

/**
 * Formats conditions for the address.
 * @param {Condition[]} conditions
 * @returns {string}
 */
export const format = (conditions) =>
  conditions
    .map(({ name, low, high }) => `${name}:${formatBound(low)}:${formatBound(high)}`)
    .join(',');

/**
 * Parses a sort order, such as "-kr". Anything invalid sorts by iteration.
 * @param {string | null} [text]
 * @param {{ name: string }[]} [customTerms] The run's custom terms.
 * @returns {Sorting}
 */
export function parseSorting(text, customTerms = []) {
  const name = (text ?? '').replace(/^-/, '');
  return isColumn(name, customTerms)
    ? { name, descending: text.startsWith('-') }
    : { name: 'it', descending: false };
}

/**
 * Converts a value to what people read.
 * @param {string} name
 * @param {number} v
 * @returns {number}
 */
export const toDisplayed = (name, v) => {
  const { scale = 1, offset = 0 } = columnOf(name);
  return +(v * scale + offset).toPrecision(6);
};

/**
 * Converts what people type to a value.
 * @param {string} name
 * @param {number} v
 * @returns {number}
 */
export const fromDisplayed = (name, v) => {
  const { scale = 1, offset = 0 } = columnOf(name);
  return +((v - offset) / scale).toPrecision(8);
};

/**
 * Describes a condition in words.
 * @param {Condition} condition
 * @returns {string}
 */
export function describe({ name, low, high }) {
  const { title, unit = '' } = columnOf(name);
  const show = (v) => `${toDisplayed(name, v)}${unit}`;
  if (name === 'pool') return low > 0 ? 'in the pool' : 'not in the pool';
  if (low === high) return `${title} ${show(low)}`;
  return Number.isFinite(low)
    ? Number.isFinite(high)
      ? `${title} ${show(low)} to ${show(high)}`
      : `${title} ≥ ${show(low)}`
    : `${title} ≤ ${show(high)}`;
}

/**
 * Filters and sorts. Unknown values match no condition and are sorted last. Ties keep the order in
 * which the images were made.
 * @param {Record<string, (number | null)[]>} columns
 * @param {Condition[]} conditions
 * @param {Sorting} sorting
 * @param {number} [n] Consider only the first n images.
 * @returns {number[]} Rows of the columns.
 */
export function selectRows(columns, conditions, { name, descending }, n = columns.it.length) {
  const order = [];
  const matches = (i) =>
    conditions.every((c) => {
      const v = columns[c.name]?.[i];
      return v != null && v >= c.low && v <= c.high;
    });
  for (let i = 0; i < n; i++) if (matches(i)) order.push(i);
  const key = columns[name] ?? [];
  const sign = descending ? -1 : 1;
  return order.sort((a, b) =>
    key[a] == null || key[b] == null
      ? Number(key[a] == null) - Number(key[b] == null)
      : sign * (key[a] - key[b]),
  );
}
