import assert from 'node:assert/strict';
import { test } from 'node:test';

import { random } from '../core/random.stub.js';
import { slots as reexported } from '../setup/class_picker.js';
import { SLOTS, slots } from './slots.js';

test('classes of a small data set have their own colors', () => {
  assert.deepEqual(slots([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(slots([7, 2]), [7, 2]);
  assert.deepEqual(slots([]), []);
});

test('of two classes with one slot the later moves to the next free one', () => {
  assert.deepEqual(slots([3, 13]), [3, 4]);
  assert.deepEqual(slots([9, 19, 29]), [9, 0, 1]);
  assert.deepEqual(slots([3, 13, 4]), [3, 4, 5]);
});

test('more classes than colors: each by its index', () => {
  const many = Array.from({ length: 11 }, (_, i) => 10 * i + 3);
  assert.deepEqual(slots(many), new Array(11).fill(3));
});

test('up to ten classes never share a color, and keep their own where it was free', () => {
  const next = random(8);
  for (let k = 0; k < 500; k += 1) {
    const all = Array.from({ length: 1000 }, (_, i) => i);
    const indices = Array.from(
      { length: 1 + (k % SLOTS) },
      () => all.splice(Math.floor(all.length * next()), 1)[0],
    );
    const found = slots(indices);
    assert.equal(new Set(found).size, indices.length);
    assert.ok(found.every((slot) => Number.isInteger(slot) && slot >= 0 && slot < SLOTS));
    indices.forEach((index, i) => {
      // every slot from its own up to the one that it has was taken before it
      for (let slot = index % SLOTS; slot !== found[i]; slot = (slot + 1) % SLOTS)
        assert.ok(found.slice(0, i).includes(slot));
    });
  }
});

test('the class picker still exports it', () => assert.equal(reexported, slots));
