import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as data from './sweep_data.js';

const run = (kr, steps, seed, share, more = {}) => ({
  run: `s.kr-${kr}_steps-${steps}_seed-${seed}`,
  at: [kr, steps],
  seed,
  state: 'done',
  share,
  real: true,
  n: 100,
  seconds: 1,
  ...more,
});

const SWEEP = {
  name: 's',
  recipe: 'tiny',
  axes: [
    { field: 'weights.kr', label: 'kr', values: ['0', '0.1'] },
    { field: 'generator_steps', label: 'generator_steps', values: ['20', '40'] },
  ],
  seeds: [0, 5],
  runs: [
    run(0, 0, 0, 0.5),
    run(0, 0, 5, 0.7),
    run(0, 1, 0, 0.9),
    run(1, 0, 0, 0.4, { state: 'stopped' }),
    run(1, 1, 0, 0.3, { real: false }),
    run(1, 1, 5, null, { state: 'waiting' }),
  ],
};

test('the dimensions are the axes and the seed', () => {
  assert.deepEqual(
    data.dimensions(SWEEP).map(({ field }) => field),
    ['weights.kr', 'generator_steps', 'seed'],
  );
  assert.equal(data.positionOf(SWEEP, SWEEP.runs[1], 2), 1);
});

test('only finished runs with the same kind of result are averaged', () => {
  assert.deepEqual(
    data.finishedRuns(SWEEP).map(({ share }) => share),
    [0.5, 0.7, 0.9],
  );
  const synthetic = { ...SWEEP, runs: SWEEP.runs.filter(({ real }) => !real) };
  assert.deepEqual(
    data.finishedRuns(synthetic).map(({ share }) => share),
    [0.3],
  );
});

test('a cell has mean, sample standard deviation and n over everything else', () => {
  const [[both, none], [one]] = data.matrix(SWEEP, 0, 1);
  assert.equal(both.n, 2);
  assert.ok(Math.abs(both.mean - 0.6) < 1e-12);
  assert.ok(Math.abs(both.deviation - Math.SQRT2 / 10) < 1e-12);
  assert.deepEqual(one, { mean: 0.9, deviation: null, n: 1 });
  assert.deepEqual(none, { mean: null, deviation: null, n: 0 });
  const [seeds] = data.matrix(SWEEP, 2, null);
  assert.deepEqual(
    seeds.map(({ n }) => n),
    [2, 1],
  );
});

for (const [across, down, expected] of [
  [null, null, [0, 1]],
  ['generator_steps', null, [1, 0]],
  [null, 'weights.kr', [1, 0]],
  ['seed', 'weights.kr', [2, 0]],
  ['seed', 'seed', [2, 0]],
  ['nonsense', 'seed', [0, 2]],
])
  test(`across ${across} and down ${down} show ${expected}`, () => {
    assert.deepEqual(data.matrixDimensions(SWEEP, across, down), expected);
  });

test('a sweep over the seed alone has one row', () => {
  assert.deepEqual(data.matrixDimensions({ ...SWEEP, axes: [] }, null, null), [0, null]);
});

test('runs with the same value are spread around it, in their order', () => {
  const [low, middle, high, other] = data.spreadHeights([1, 1, 1, 0], 3);
  assert.ok(low < middle && middle === 0.5 && middle < high);
  assert.ok(Math.abs(high + low - 1) < 1e-12 && high < 0.6);
  assert.equal(other, 0, 'one alone is at its value');
  const [bottom, top] = data.spreadHeights([0, 1], 100);
  assert.ok(bottom < top);
});

test('heights and colors', () => {
  assert.deepEqual([data.heightOf(1, 3), data.heightOf(0, 1)], [0.5, 0.5]);
  assert.deepEqual(data.channels('#0a10ff'), [10, 16, 255]);
  assert.deepEqual(data.channels('rgb(1, 2, 3)'), [1, 2, 3]);
  assert.equal(data.mixed([0, 0, 0], [100, 200, 50], 0.5), 'rgb(50, 100, 25)');
});
