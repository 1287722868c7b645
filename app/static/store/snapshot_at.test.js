import assert from 'node:assert/strict';
import { test } from 'node:test';

import { random } from '../core/random.stub.js';
import { snapshotAt } from './snapshot_at.js';

const STEPS = 10;
const ITERATIONS = 12;

const TABLES = {
  curve: ['accuracy'],
  loss: ['bn', 'kr', 'adv'],
  student_loss: ['kl', 'ed'],
  opinion: ['chosen', 'top1', 'top5'],
};

/** A run as rows: every value is the moment of its row plus a bit. */
function run(seed) {
  const next = random(seed);
  const rows = Object.fromEntries(
    Object.entries(TABLES).map(([table, names]) => [
      table,
      Array.from({ length: 40 }, () => Math.floor(next() * (STEPS * ITERATIONS + 1)))
        .sort((a, b) => a - b)
        .map((at) => ({
          at,
          images: 100 * at,
          ...Object.fromEntries(names.map((name, i) => [name, at + i / 10])),
        })),
    ]),
  );
  const marks = Array.from({ length: 20 }, () => {
    const at = Math.floor(next() * (STEPS * ITERATIONS + 1));
    return [at, next() < 0.6 ? 'warning' : 'half', `mark at ${at}`];
  }).sort((a, b) => a[0] - b[0]);
  return { rows, marks };
}

const columns = (rows, names) =>
  Object.fromEntries(['images', 'at', ...names].map((name) => [name, rows.map((r) => r[name])]));

const snapshot = ({ rows, marks }) => ({
  run: 'r',
  alert: { text: 'LATER' },
  making: { iteration: ITERATIONS },
  warnings: [{ text: 'LATER', remedy: 'LATER' }],
  progress: { label: 'LATER', share: 1, left_s: 5, slowdown: 2 },
  sentence: [{ text: 'LATER' }],
  recipe: { generator_steps: STEPS },
  classes: ['a', 'b'],
  counters: {
    generator_step: STEPS * ITERATIONS,
    generator_steps: STEPS * ITERATIONS,
    student_step: 999_999,
    student_steps: 1_000_000,
    iterations_done: ITERATIONS,
    iterations: ITERATIONS,
  },
  marks,
  curve: { ...columns(rows.curve, ['accuracy']), n: 500, teacher: 0.9, last: 888_888, final: true },
  loss: columns(rows.loss, TABLES.loss),
  student_loss: columns(rows.student_loss, TABLES.student_loss),
  opinion: columns(rows.opinion, TABLES.opinion),
  budget: { images: 12_345, used_images: 777_777, used: 0.98765, ratio: 1 },
});

const momentOf = (at) => ({
  at,
  iteration: Math.max(0, Math.ceil(at / STEPS) - 1),
  step: at % STEPS || STEPS,
  student_step: 3 * at,
  used_images: 100 * at,
  used: at / 1000,
});

test('live, a snapshot is unchanged', () => {
  const snap = snapshot(run(1));
  assert.equal(snapshotAt(snap, null), snap);
});

test('each table has exactly the rows up to the moment', () => {
  for (let seed = 1; seed <= 5; seed += 1) {
    const whole = run(seed);
    const snap = snapshot(whole);
    for (let at = 1; at <= STEPS * ITERATIONS; at += 7) {
      const past = snapshotAt(snap, momentOf(at));
      for (const [table, names] of Object.entries(TABLES)) {
        const there = whole.rows[table].filter((row) => row.at <= at);
        for (const [name, column] of Object.entries(columns(there, names)))
          assert.deepEqual(past[table][name], column, `${table}.${name} at ${at}`);
      }
      assert.deepEqual(
        past.warnings.map(({ text }) => text),
        whole.marks.filter(([when, kind]) => kind === 'warning' && when <= at).map((m) => m[2]),
      );
    }
  }
});

test('nothing known only later is left in', () => {
  const at = 37;
  const past = snapshotAt(snapshot(run(6)), momentOf(at));
  const { marks, ...rest } = past; // the timeline shows the whole run
  assert.ok(marks.length);
  const text = JSON.stringify(rest);
  for (const later of ['LATER', '999999', '888888', '777777', '0.98765'])
    assert.ok(!text.includes(later), later);
  for (const table of Object.keys(TABLES)) {
    assert.ok(past[table].at.every((when) => when <= at));
    assert.ok(past[table].images.every((n) => n <= 100 * at));
  }
  assert.equal(past.making, null);
  assert.equal(past.alert, null);
  assert.equal(past.curve.final, false);
});

test('counters and budget are the moment’s', () => {
  const past = snapshotAt(snapshot(run(7)), momentOf(37));
  assert.deepEqual(past.counters, {
    generator_step: 37,
    generator_steps: 120,
    student_step: 111,
    student_steps: 1_000_000,
    iterations_done: 3,
    iterations: 12,
  });
  assert.deepEqual(past.budget, { images: 12_345, used_images: 3700, used: 0.037, ratio: 1 });
  assert.deepEqual(past.progress, {
    label: 'Iteration 4 of 12',
    share: 37 / 120,
    left_s: null,
    slowdown: null,
  });
});

test('an iteration counts as done at its end, not at its last frame', () => {
  const snap = snapshot(run(8));
  const done = (moment) =>
    snapshotAt(snap, { ...momentOf(40), ...moment }).counters.iterations_done;
  assert.equal(done({ iteration: 3, step: STEPS - 1 }), 3);
  assert.equal(done({ iteration: 3, step: STEPS }), 4);
});

test('the last accuracy is the moment’s own, since the curve is thinned', () => {
  const whole = run(9);
  whole.rows.curve = [5, 20, 60].map((at) => ({ at, images: 100 * at, accuracy: at }));
  const at = (accuracy) => snapshotAt(snapshot(whole), { ...momentOf(37), accuracy }).curve;
  const { last, accuracy, at: moments, images } = at(33);
  assert.deepEqual(
    [last, accuracy, moments, images],
    [33, [5, 20, 33], [5, 20, 37], [500, 2000, 3700]],
  );
  assert.deepEqual([at(20).last, at(20).accuracy], [20, [5, 20]]); // the curve has it already
  assert.deepEqual([at(undefined).last, at(undefined).accuracy], [20, [5, 20]]);
  assert.deepEqual([at(null).last, at(null).accuracy], [null, [5, 20]]);
});

test('before anything is known there is nothing', () => {
  const whole = run(10);
  for (const rows of Object.values(whole.rows)) for (const row of rows) row.at += 1;
  const past = snapshotAt(snapshot(whole), { at: 0, iteration: 0, step: 0 });
  for (const [table, names] of Object.entries(TABLES))
    for (const name of ['images', 'at', ...names]) assert.deepEqual(past[table][name], []);
  assert.deepEqual(
    [past.curve.last, past.counters.student_step, past.budget.used_images, past.budget.used],
    [null, 0, 0, 0],
  );
});

test('the sentence and the number of test images: what the server knows, or a stand-in', () => {
  const snap = snapshot(run(11));
  const sentence = [{ text: 'As it was.' }];
  assert.equal(snapshotAt(snap, { ...momentOf(37), sentence }).sentence, sentence);
  assert.deepEqual(snapshotAt(snap, momentOf(37)).sentence, [
    { text: 'Replay: iteration 4 of 12.' },
  ]);
  assert.equal(snapshotAt(snap, { ...momentOf(37), n: 100 }).curve.n, 100);
  assert.equal(snapshotAt(snap, momentOf(37)).curve.n, 500);
});

test('the live snapshot is not modified', () => {
  const snap = snapshot(run(12));
  const before = structuredClone(snap);
  for (const at of [1, 37, 120]) snapshotAt(snap, { ...momentOf(at), accuracy: 0.123 });
  assert.deepEqual(snap, before);
});
