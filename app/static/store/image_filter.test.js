import assert from 'node:assert/strict';
import { test } from 'node:test';

import '../core/glossary.stub.js';
import { random } from '../core/random.stub.js';
const {
  selectRows,
  columnOf,
  columnsOf,
  format,
  fromDisplayed,
  parse,
  parseSorting,
  toDisplayed,
  describe,
} = await import('./image_filter.js');

// as in app/archive/samples.py: the iteration, the terms (PARTS), and OTHERS
const NAMES = 'it bn kr ce aed tv l2 adv p s judge rank side pool'.split(' ');

test('images are sorted and filtered by the same columns as in downloads', () => {
  const all = 'bn kr ce aed tv l2 adv'.split(' ').map((name) => ({ name }));
  assert.deepEqual(
    columnsOf(all, true).map(({ name }) => name),
    NAMES,
  );
});

test('a run has columns for its own terms, and for a judge if it has one', () => {
  const of = (terms, judged) =>
    columnsOf(
      terms.map((name) => ({ name })),
      judged,
    ).map(({ name }) => name);
  assert.deepEqual(of([], false), ['it', 'p', 's', 'side', 'pool']);
  assert.deepEqual(of(['kr'], false), ['it', 'kr', 'p', 's', 'side', 'pool']);
  assert.deepEqual(of(['kr'], true), ['it', 'kr', 'p', 's', 'judge', 'rank', 'side', 'pool']);
});

/** Oracle: app/archive/samples.py, CONDITION and conditions(); null where it raises an error. */
function conditions(text) {
  const bound = '(-?[0-9.]{0,16}(?:e-?[0-9]{1,2})?)';
  const condition = new RegExp(`^(${NAMES.join('|')}):${bound}:${bound}$`);
  const number = (digits, open) => (digits === '' ? open : Number(digits));
  const found = [];
  for (const part of text ? text.split(',') : []) {
    const match = condition.exec(part);
    if (!match) return null;
    const [, name, low, high] = match;
    const one = { name, low: number(low, -Infinity), high: number(high, Infinity) };
    if (Number.isNaN(one.low) || Number.isNaN(one.high)) return null;
    found.push(one);
  }
  return found.length > 12 ? null : found;
}

test('hand-read conditions', () => {
  assert.deepEqual(parse('kr:0.5:2,p::0.9'), [
    { name: 'kr', low: 0.5, high: 2 },
    { name: 'p', low: -Infinity, high: 0.9 },
  ]);
  assert.deepEqual(parse('l2:-1e-5:'), [{ name: 'l2', low: -1e-5, high: Infinity }]);
  assert.deepEqual(parse('pool:1:1'), [{ name: 'pool', low: 1, high: 1 }]);
  assert.deepEqual(parse(''), []);
  assert.deepEqual(parse(null), []);
  assert.deepEqual(parse(undefined), []);
});

test('invalid conditions are dropped, and the others stay', () => {
  const hostile =
    'kr,kr:1,kr:1:2:3,:1:2,KR:1:2,kr :1:2,kr:a:2,kr:1:b,kr:0x1:2,kr:1e5e5:2,kr:1e999:2,kr:1e+5:2,' +
    'kr:Infinity:2,kr:NaN:2,kr:.:2,kr:-:2,kr:1.2.3:4,kr:--1:2,kr:e5:2,constructor:1:2,' +
    '__proto__:1:2,kr: 1:2,kr:1_0:2,kr:１:2,kr:1\n:2,ed:1:2';
  for (const part of hostile.split(',')) {
    assert.deepEqual(parse(part), [], part);
    assert.equal(conditions(part), null, part); // the server rejects it
    assert.deepEqual(parse(`${part},p:0.5:`), [{ name: 'p', low: 0.5, high: Infinity }], part);
  }
});

test('at most twelve conditions', () => {
  const text = new Array(14).fill('p:0.1:0.2').join(',');
  assert.equal(parse(text).length, 12);
  assert.equal(conditions(text), null);
});

test('random texts mean the same as on the server, where it accepts them', () => {
  const next = random(20);
  const pick = (list) => list[Math.floor(next() * list.length)];
  let accepted = 0;
  for (let k = 0; k < 4000; k += 1) {
    const number = () =>
      pick(['', '-', '']) +
      pick(['', '0', '7', '12', '.5', '3.', '1.25', '.']) +
      pick(['', '', 'e2', 'e-3', 'e']);
    const text = Array.from({ length: 1 + (k % 3) }, () =>
      [pick([...NAMES, 'ed', '']), number(), number()].join(':'),
    ).join(',');
    const wanted = conditions(text);
    if (wanted) assert.deepEqual(parse(text), wanted, text);
    accepted += Boolean(wanted);
  }
  assert.ok(accepted > 100, `${accepted}`);
});

test('conditions survive a round trip', () => {
  const next = random(21);
  for (let k = 0; k < 500; k += 1) {
    const value = () => +((next() - 0.3) * 10 ** Math.floor(9 * next() - 4)).toPrecision(8);
    const [low, high] = [value(), value()].sort((a, b) => a - b);
    const where = [
      { name: NAMES[k % NAMES.length], low, high },
      { name: 'p', low: -Infinity, high },
      { name: 'kr', low, high: Infinity },
    ];
    assert.deepEqual(parse(format(where)), where);
    assert.deepEqual(conditions(format(where)), where); // a download gets the same ones
  }
  assert.equal(format([]), '');
});

test('very large, very small and very long bounds survive a round trip', () => {
  for (const v of [
    1e16, -12345678e9, 1e20, 1e21, 1.2345678e21, -1.2345678e38, 3.4e38, 1e99, 123456789012345680,
    1e-7, -1.2345678e-6, 1.2345678e-38, -1e-99, 0, -0.0000012345678,
  ]) {
    const [low, high] = [Math.min(v, 2 * v), Math.max(v, 2 * v)].map((x) => +x.toPrecision(8));
    const where = [{ name: 'kr', low, high }];
    assert.deepEqual(parse(format(where)), where, format(where));
    assert.deepEqual(conditions(format(where)), where, format(where)); // the server agrees
  }
});

test('bounds that no image can have become the nearest that can be written', () => {
  const of = (low, high) => format([{ name: 'kr', low, high }]);
  assert.equal(of(-1e200, 1e100), 'kr:-9.9999999e99:9.9999999e99');
  assert.equal(of(-1e-100, 1e-300), 'kr:0:0');
  for (const text of [of(-1e200, 1e100), of(-1e-100, 1e-300)]) {
    assert.equal(format(parse(text)), text);
    assert.deepEqual(conditions(text), parse(text));
  }
});

test('an order: its column, and highest first after a minus', () => {
  assert.deepEqual(parseSorting('-kr'), { name: 'kr', descending: true });
  assert.deepEqual(parseSorting('p'), { name: 'p', descending: false });
  for (const none of [null, undefined, '', '-', '--kr', 'KR', 'pos', '__proto__', 'kr '])
    assert.deepEqual(parseSorting(none), { name: 'it', descending: false });
});

test('values as people type them: percent, counted from one, or unchanged', () => {
  assert.equal(toDisplayed('it', 0), 1);
  assert.equal(fromDisplayed('it', 1), 0);
  assert.equal(toDisplayed('p', 0.825), 82.5);
  assert.equal(fromDisplayed('s', 90), 0.9);
  assert.equal(toDisplayed('kr', 0.123), 0.123);
  for (const name of NAMES)
    for (const v of [0, 0.5, 0.07, 3, 140])
      assert.equal(fromDisplayed(name, toDisplayed(name, v)), v);
});

test('conditions in words', () => {
  const title = columnOf('p').title;
  assert.equal(describe({ name: 'p', low: 0.5, high: Infinity }), `${title} ≥ 50%`);
  assert.equal(describe({ name: 'p', low: -Infinity, high: 0.5 }), `${title} ≤ 50%`);
  assert.equal(describe({ name: 'side', low: 20, high: 20 }), 'resolution 20 px');
  assert.equal(describe({ name: 'it', low: 0, high: 4 }), 'iteration 1 to 5');
  assert.equal(describe({ name: 'pool', low: 1, high: 1 }), 'in the pool');
  assert.equal(describe({ name: 'pool', low: 0, high: 0 }), 'not in the pool');
});

const COLUMNS = {
  it: [0, 0, 1, 1, 2],
  pos: [3, 8, 1, 5, 2],
  p: [0.9, null, 0.5, 0.9, 0.1],
  kr: [2, 1, null, 0, 1],
};

test('hand-chosen images', () => {
  const by = (where, sort, n) => selectRows(COLUMNS, parse(where), parseSorting(sort), n);
  assert.deepEqual(by('', ''), [0, 1, 2, 3, 4]);
  assert.deepEqual(by('', '-it'), [4, 2, 3, 0, 1]);
  assert.deepEqual(by('', 'p'), [4, 2, 0, 3, 1]); // unknown comes last …
  assert.deepEqual(by('', '-p'), [0, 3, 2, 4, 1]); // … in either direction
  assert.deepEqual(by('p:0.5:', ''), [0, 2, 3]); // both ends are included, unknown values are not
  assert.deepEqual(by('p::', ''), [0, 2, 3, 4]);
  assert.deepEqual(by('p:0.5:0.9,kr:1:', '-kr'), [0]);
  assert.deepEqual(by('p:0.9:0.1', ''), []);
  assert.deepEqual(by('judge:0:1', ''), []); // a column that the run lacks
  assert.deepEqual(by('', '-judge'), [0, 1, 2, 3, 4]);
  assert.deepEqual(by('', '-it', 3), [2, 0, 1]); // of the first three
});

/**
 * Oracle: app/archive/samples.py, chosen(). Rows that fit, as sorted by (key, iteration, position),
 * where an unknown key is larger than any.
 */
function chosen(columns, where, { name, down }) {
  const rank = (i) => {
    const key = columns[name]?.[i] ?? NaN;
    return Number.isNaN(key) ? Infinity : down ? -key : key;
  };
  return columns.it
    .map((_, i) => i)
    .filter((i) => where.every((c) => columns[c.name][i] >= c.low && columns[c.name][i] <= c.high))
    .filter((i) => where.every((c) => columns[c.name][i] !== null))
    .map((i) => [rank(i), columns.it[i], columns.pos[i], i])
    .sort((a, b) => (a[0] === b[0] ? a[1] - b[1] || a[2] - b[2] : a[0] < b[0] ? -1 : 1))
    .map((row) => row[3]);
}

test('random images, filters and orders, as a download would have them', () => {
  const next = random(22);
  for (let k = 0; k < 200; k += 1) {
    const n = 60;
    const value = () => (next() < 0.15 ? null : Math.round(8 * next()) / 4 - 1);
    const columns = {
      it: Array.from({ length: n }, (_, i) => Math.floor(i / 5)),
      pos: Array.from({ length: n }, (_, i) => 3 * (i % 5)),
      p: Array.from({ length: n }, value),
      kr: Array.from({ length: n }, value),
    };
    const where = ['p', 'kr'].slice(0, k % 3).map((name) => ({
      name,
      low: next() < 0.5 ? -0.5 : -Infinity,
      high: next() < 0.5 ? 0.75 : Infinity,
    }));
    for (const name of ['it', 'p', 'kr'])
      for (const down of [false, true])
        assert.deepEqual(
          selectRows(columns, where, { name, descending: down }),
          chosen(columns, where, { name, down }),
        );
  }
});
