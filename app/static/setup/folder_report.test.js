import assert from 'node:assert/strict';
import { test } from 'node:test';

import { missingRemark, ofSelection } from './folder_report.js';

const REPORT = {
  split: 'val',
  images: 9,
  classes: [
    { name: 'cat', folders: ['val/cat'], images: 4 },
    { name: 'dog', folders: ['val/Dog'], images: 5 },
    { name: 'pig', folders: [], images: 0 },
  ],
  ignored: [{ folder: 'val/Hat', images: 2, reason: 'not a class' }],
  remarks: [],
};

test('only the selected classes count, and the other folders are not selected', () => {
  const found = ofSelection(REPORT, new Set(['dog', 'pig']));
  assert.equal(found.images, 5);
  assert.deepEqual(
    found.classes.map((row) => row.name),
    ['dog', 'pig'],
  );
  assert.deepEqual(
    found.missing.map((row) => row.name),
    ['pig'],
  );
  assert.deepEqual(found.ignored, [
    { folder: 'val/Hat', images: 2, reason: 'not a class' },
    { folder: 'val/cat', images: 4, reason: 'not selected' },
  ]);
});

test('all classes: the report itself', () => {
  const found = ofSelection(REPORT, new Set(['cat', 'dog', 'pig']));
  assert.equal(found.images, REPORT.images);
  assert.deepEqual(found.ignored, REPORT.ignored);
});

test('missing classes are counted, and the first ones named', () => {
  const absent = (name) => ({ name, folders: [], images: 0 });
  const empty = { name: 'dog', folders: ['val/dog'], images: 0 };
  assert.match(missingRemark([absent('pig')], 3), /^1 of 3 .*No folder: pig\. Add /);
  assert.match(missingRemark([...'abcdefg'].map(absent), 8), /: a, b, c, d, e, and 2 more\. Add /);
  assert.match(
    missingRemark([absent('pig'), empty], 3),
    /No folder: pig\. Folder without images: dog\./,
  );
  assert.match(
    missingRemark([empty], 1),
    /no images of the selected classes\. Folder without images: dog/,
  );
});
