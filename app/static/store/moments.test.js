import assert from 'node:assert/strict';
import { test } from 'node:test';

import { momentAt } from './moments.js';

test('hand-computed moments', () => {
  assert.deepEqual(momentAt(0, 10), { iteration: 0, step: 0 });
  assert.deepEqual(momentAt(1, 10), { iteration: 0, step: 0 });
  assert.deepEqual(momentAt(9, 10), { iteration: 0, step: 8 });
  assert.deepEqual(momentAt(10, 10), { iteration: 0, step: 10 }); // its end
  assert.deepEqual(momentAt(11, 10), { iteration: 1, step: 0 });
  assert.deepEqual(momentAt(3, 1), { iteration: 2, step: 1 });
});

/** How many generator steps a moment knows: app/live/moments.py, _at(). */
const known = ({ iteration, step }, steps) =>
  iteration * steps + (step === steps ? steps : Math.min(step + 1, steps - 1));

test('a moment knows exactly the steps that it was found by', () => {
  for (const steps of [2, 3, 10, 40])
    for (let at = 1; at <= 5 * steps; at += 1)
      assert.equal(known(momentAt(at, steps), steps), at, `${at} of ${steps}`);
});

test('later steps are later moments', () => {
  for (const steps of [1, 2, 7])
    for (let at = 1; at < 60; at += 1) {
      const [a, b] = [momentAt(at, steps), momentAt(at + 1, steps)];
      assert.ok(b.iteration > a.iteration || (b.iteration === a.iteration && b.step > a.step));
    }
});
