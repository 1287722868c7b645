// Which images of a class are shown, and in which order: what stands in the address as `where` and
// `sort`. The same rules as app/archive/samples.py.

import { GENERATOR, REWARD } from '../core/terms.js';

const NUMBER = /^-?\d*\.?\d*(?:e-?\d{1,2})?$/;
const MOST = 12;

/**
 * By what images are sorted and filtered. `scale`: how a value is typed and shown (per cent,
 * counted from one).
 */
const OTHERS = [
  { name: 'it', title: 'iteration', add: 1 },
  { name: 'p', title: 'teacher’s confidence', times: 100, unit: ' %' },
  { name: 's', title: 'student’s confidence', times: 100, unit: ' %' },
  { name: 'judge', title: 'second opinion’s confidence', times: 100, unit: ' %', judge: true },
  { name: 'rank', title: 'second opinion’s rank', judge: true },
  { name: 'side', title: 'resolution', unit: ' px' },
  { name: 'pool', title: 'kept in the pool' },
];
const ALL = [
  OTHERS[0],
  ...[...GENERATOR, REWARD].map(({ name, title }) => ({ name, title })),
  ...OTHERS.slice(1),
];
export const columnOf = (name) => ALL.find((column) => column.name === name);
/**
 * Those that a run has: the terms of its loss, a judge's answers where it has one, and the rest.
 */
export const columnsOf = (terms, judged) =>
  ALL.filter(({ name, judge }) =>
    judge
      ? judged
      : OTHERS.some((other) => other.name === name) || terms.some((term) => term.name === name),
  );

/** "kr:0.5:2,p::0.9" → [{name, low, high}]; what is none is left out. */
export function parse(text) {
  return (text ?? '')
    .split(',')
    .map((part) => part.split(':'))
    .filter(
      ([name, low, high, ...more]) =>
        columnOf(name) && !more.length && NUMBER.test(low ?? '?') && NUMBER.test(high ?? '?'),
    )
    .map(([name, low, high]) => ({
      name,
      low: low === '' ? -Infinity : +low,
      high: high === '' ? Infinity : +high,
    }))
    .filter(({ low, high }) => !Number.isNaN(low) && !Number.isNaN(high))
    .slice(0, MOST);
}

const bound = (v) => (Number.isFinite(v) ? String(+v.toPrecision(8)).slice(0, 16) : '');
export const format = (where) =>
  where.map(({ name, low, high }) => `${name}:${bound(low)}:${bound(high)}`).join(',');

/** "-kr" → {name, down}; by iteration where it is nothing of that. */
export function sorting(text) {
  const name = (text ?? '').replace(/^-/, '');
  return columnOf(name) ? { name, down: text.startsWith('-') } : { name: 'it', down: false };
}

/** As a person types and reads it. */
export const typed = (name, v) => {
  const { times = 1, add = 0 } = columnOf(name);
  return +(v * times + add).toPrecision(6);
};
export const meant = (name, v) => {
  const { times = 1, add = 0 } = columnOf(name);
  return +((v - add) / times).toPrecision(8);
};

export function words({ name, low, high }) {
  const { title, unit = '' } = columnOf(name);
  const say = (v) => `${typed(name, v)}${unit}`;
  if (name === 'pool') return low > 0 ? 'kept in the pool' : 'not kept';
  if (low === high) return `${title} ${say(low)}`;
  return Number.isFinite(low)
    ? Number.isFinite(high)
      ? `${title} ${say(low)} to ${say(high)}`
      : `${title} ≥ ${say(low)}`
    : `${title} ≤ ${say(high)}`;
}

/**
 * Places in the columns, chosen and sorted. What is unknown fits no condition and comes last;
 * equals stay in the order of their making. `n`: only of the first n.
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
      ? (key[a] == null) - (key[b] == null)
      : sign * (key[a] - key[b]),
  );
}
