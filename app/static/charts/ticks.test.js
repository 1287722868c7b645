import assert from 'node:assert/strict';
import { test } from 'node:test';

import { random } from '../core/random.stub.js';
import { multiples, roundEnd, stepFor, ticks } from './ticks.js';

/** Is it 1, 2 or 5 times a power of ten? Judged by its digits. */
const isRound = (v) => /^[125](\.0+)?e/.test(v.toExponential(9));

test('hand-computed steps', () => {
  for (const [span, n, step] of [
    [1, 4, 0.5],
    [1, 5, 0.2],
    [10, 10, 1],
    [60_000, 3, 20_000],
    [61_000, 3, 50_000],
    [160, 3, 100],
    [7, 1, 10],
  ])
    assert.ok(Math.abs(stepFor(span, n) - step) < 1e-12 * step, `${span} / ${n}`);
});

test('a step is the least round number that makes no more than n parts', () => {
  const next = random(5);
  for (let k = 0; k < 2000; k += 1) {
    const span = 10 ** (8 * next() - 4);
    const n = 1 + Math.floor(9 * next());
    const step = stepFor(span, n);
    assert.ok(isRound(step), `${step}`);
    assert.ok(step * n >= span * (1 - 1e-12));
    const smaller = step.toExponential(6).startsWith('5') ? 0.4 * step : 0.5 * step;
    assert.ok(smaller * n < span, `${span} ${n} ${step}`); // 5 → 2, 2 → 1, 10 → 5
  }
});

test('multiples: all of them, both ends included', () => {
  assert.deepEqual(multiples(0, 10, 5), [0, 5, 10]);
  assert.deepEqual(multiples(-7, 11, 5), [-5, 0, 5, 10]);
  assert.deepEqual(multiples(1, 4, 5), []);
  const next = random(6);
  for (let k = 0; k < 500; k += 1) {
    const low = Math.floor(400 * next()) - 200;
    const high = low + Math.floor(300 * next());
    const by = 1 + Math.floor(50 * next());
    const wanted = [];
    for (let v = low; v <= high; v += 1) if (v % by === 0) wanted.push(v);
    assert.deepEqual(
      multiples(low, high, by).map((v) => v + 0),
      wanted.map((v) => v + 0),
    );
  }
});

test('hand-computed ticks', () => {
  assert.deepEqual(ticks(0, 1, 4), [0, 0.5, 1]);
  assert.deepEqual(ticks(0, 0.6, 2), [0, 0.5]);
  assert.deepEqual(ticks(0.3, 0.9, 4), [0.4, 0.6, 0.8]);
  assert.deepEqual(ticks(0, 0.3, 4), [0, 0.1, 0.2, 0.3]); // not 0.30000000000000004
  assert.deepEqual(ticks(-0.3, 0.3, 6), [-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3]); // 0, not −5.6e-17
  assert.deepEqual(ticks(0, 7000, 2), [0, 5000]);
});

test('ticks: round, evenly spaced, within the range, and as many as fit', () => {
  const next = random(7);
  for (let k = 0; k < 1000; k += 1) {
    const low = 200 * next() - 100;
    const high = low + 10 ** (5 * next() - 2);
    const n = 2 + Math.floor(4 * next());
    const by = stepFor(high - low, n);
    const all = ticks(low, high, n);
    assert.ok(all.length <= n + 1);
    assert.ok(all.every((v) => v >= low - 1e-6 * by && v <= high + 1e-6 * by));
    assert.ok(all.every((v) => Math.abs(v / by - Math.round(v / by)) < 1e-6));
    assert.equal(all.length, Math.floor(high / by + 1e-9) - Math.ceil(low / by - 1e-9) + 1);
  }
});

test('a range without extent still has a tick where a whole number lies', () => {
  assert.deepEqual(ticks(3, 3, 4), [3]);
});

test('the end of a scale is the least round number that reaches the value', () => {
  for (const [v, end] of [
    [1, 1],
    [1.01, 2],
    [2.00001, 2], // a hair beyond is not worth a doubled scale
    [3, 5],
    [6, 10],
    [0.03, 0.05],
    [730, 1000],
    [0, 1],
    [-3, 1],
    [NaN, 1],
  ])
    assert.ok(Math.abs(roundEnd(v) - end) < 1e-12 * end, `${v} → ${roundEnd(v)}`);
});
