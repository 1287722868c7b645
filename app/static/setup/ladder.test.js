import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import './ladder.js';

const { kgLadder } = globalThis;
const RUNGS = ['smaller images', 'key region', 'embedding diversity', 'multi-resolution'];
const PRESETS = ['NAYER', '+SRG', '+KR', '+ED', 'K-Gen'];
const C = {
  rungs: RUNGS,
  presets: PRESETS,
  sides: [16, 20, 24, 28],
  full: 28,
  small: 20,
  kr: 0.1,
  ed: 10,
  aed: 5,
};

const subsets = (list) =>
  list.reduce((all, one) => all.flatMap((some) => [some, [...some, one]]), [[]]);
/** One, or two neighboring resolutions: what the switches can express. */
const SIDES = [[16], [20], [24], [28], [16, 20], [20, 24], [24, 28]];
const WEIGHTS = [
  [0, 0, 0],
  [0.1, 0, 0],
  [0.3, 10, 5],
  [0, 0, 2],
  [0, 7, 0],
];

afterEach(() => {
  delete globalThis.kgOffer;
});

test('the presets of Table 4', () => {
  for (const before of [[28], [20], [20, 24]])
    for (const [n, sides, weights] of [
      [0, [28], [0, 0, 0]],
      [1, [20], [0, 0, 0]],
      [2, [20], [0.1, 0, 0]],
      [3, [20], [0.1, 10, 5]],
      [4, [20, 24], [0.1, 10, 5]],
    ])
      assert.deepEqual(kgLadder.preset(C, PRESETS[n], before, 0.1, 0, 0), [
        RUNGS.slice(0, n),
        sides,
        ...weights,
      ]);
});

test('a preset keeps a small resolution and weights that a person chose', () => {
  assert.deepEqual(kgLadder.preset(C, 'K-Gen', [24, 16], 0.5, 0, 2), [RUNGS, [16, 20], 0.5, 0, 2]);
  assert.deepEqual(kgLadder.preset(C, '+KR', [16], 0.5, 3, 2), [
    RUNGS.slice(0, 2),
    [16],
    0.5,
    0,
    0,
  ]);
});

test('from any state, a preset sets its rungs and is recognized', () => {
  for (const sides of [...SIDES, []])
    for (const weights of WEIGHTS)
      PRESETS.forEach((name, n) => {
        const [rungs, ...fields] = kgLadder.preset(C, name, sides, ...weights);
        assert.deepEqual(rungs, RUNGS.slice(0, n));
        assert.deepEqual(kgLadder.seen(C, ...fields), [rungs]);
        assert.deepEqual(kgLadder.which(C, rungs), [name]);
      });
});

test('which: the five presets among all sixteen combinations', () => {
  const found = subsets(RUNGS).map((rungs) => kgLadder.which(C, rungs)[0]);
  assert.equal(found.length, 16);
  assert.deepEqual(found.filter(Boolean).sort(), [...PRESETS].sort());
  assert.deepEqual(kgLadder.which(C, ['key region', 'smaller images']), ['+KR']); // in any order
  assert.deepEqual(kgLadder.which(C, RUNGS, 'vector'), [null]); // no noisy layer
});

/** Oracle: the rungs of Table 4, from their definitions. */
const rungsOf = (sides, kr, ed, aed) =>
  [
    [sides.some((side) => side < 28), 'smaller images'],
    [kr > 0, 'key region'],
    [ed + aed > 0, 'embedding diversity'],
    [sides.length > 1, 'multi-resolution'],
  ].flatMap(([on, rung]) => (on ? [rung] : []));

test('what a person set by hand is recognized as rungs', () => {
  for (const sides of [...SIDES, [16, 28], [16, 20, 24], []])
    for (const weights of WEIGHTS)
      assert.deepEqual(kgLadder.seen(C, sides, ...weights), [rungsOf(sides, ...weights)]);
});

test('flipping any one switch changes the fields so that they match the switches', () => {
  const largestPair = ['multi-resolution']; // two resolutions, of which one is always smaller
  for (const sides of SIDES)
    for (const weights of WEIGHTS) {
      const before = rungsOf(sides, ...weights);
      for (const rung of RUNGS) {
        const now = before.includes(rung)
          ? before.filter((one) => one !== rung)
          : [...before, rung];
        const [rungs, next, kr, ed, aed] = kgLadder.flip(C, now, sides, ...weights);
        assert.deepEqual(rungs, rungsOf(next, kr, ed, aed));
        assert.ok(SIDES.some((one) => String(one) === String(next)));
        const of = (list) => RUNGS.filter((one) => list.includes(one));
        if (now.includes('smaller images') || !now.includes('multi-resolution'))
          assert.deepEqual(rungs, of(now), `${sides} ${weights} ${rung}`);
        else if (rung === 'multi-resolution')
          assert.deepEqual(rungs, of([...now, 'smaller images']));
        else if (rung === 'smaller images')
          assert.deepEqual(rungs, of(now.filter((one) => !largestPair.includes(one))));
        // only the flipped switch's own fields change
        if (rung !== 'key region') assert.equal(kr, weights[0]);
        if (rung !== 'embedding diversity') assert.deepEqual([ed, aed], weights.slice(1));
        if (['key region', 'embedding diversity'].includes(rung)) assert.deepEqual(next, sides);
      }
    }
});

test('hand-computed flips', () => {
  for (const [rungs, sides, become] of [
    [['smaller images'], [28], [20]],
    [[], [20], [28]],
    [['multi-resolution'], [28], [24, 28]],
    [['smaller images', 'multi-resolution'], [16], [16, 20]],
    [['smaller images'], [20, 24], [20]],
    [['multi-resolution'], [20, 24], [28]],
    [['smaller images'], [24], [24]],
  ])
    assert.deepEqual(kgLadder.flip(C, rungs, sides, 0, 0, 0)[1], become);
});

test('a weight that was zero becomes the paper’s when its switch is turned on', () => {
  const [, , ...weights] = kgLadder.flip(C, ['smaller images', 'key region'], [20], 0, 0, 0);
  assert.deepEqual(weights, [0.1, 0, 0]);
  const [, , ...own] = kgLadder.flip(C, ['smaller images', 'key region'], [20], 0.7, 0, 0);
  assert.deepEqual(own, [0.7, 0, 0]);
});

test('the resolutions of the chosen teacher replace those that the page came with', () => {
  globalThis.kgOffer = { sides: [112, 160, 224], small: 112, full: 224 };
  assert.deepEqual(kgLadder.preset(C, 'K-Gen', [224], 0, 0, 0)[1], [112, 160]);
  assert.deepEqual(kgLadder.seen(C, [160], 0, 0, 0), [['smaller images']]);
});
