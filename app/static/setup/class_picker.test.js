import assert from 'node:assert/strict';
import { test } from 'node:test';

import { split } from './class_picker.js';

test('a pasted list: one name per line, or with commas or semicolons', () => {
  assert.deepEqual(split('tench\nchain saw'), ['tench', 'chain saw']);
  assert.deepEqual(split('tench, chain saw;church'), ['tench', 'chain saw', 'church']);
  assert.deepEqual(split('tench\r\n\r\n  church \r\n'), ['tench', 'church']);
  assert.deepEqual(split(',;\n ,'), []);
  assert.deepEqual(split(''), []);
});

test('quotation marks around a name do not belong to it', () => {
  assert.deepEqual(split(`"tench", 'church'`), ['tench', 'church']);
  assert.deepEqual(split("crow's nest"), ["crow's nest"]);
});
