import assert from 'node:assert/strict';
import { test } from 'node:test';

import { pct, percentage } from './dom.js';

test('percentages are rounded as in app/live/format.py', () => {
  // from Python: [percentage(share) for share in ...]
  const expected = {
    0: '0.0',
    0.0004: '0.0',
    0.8125: '81.3',
    0.8241: '82.4',
    0.999: '99.9',
    0.9994: '99.9',
  };
  for (const [share, text] of Object.entries(expected)) assert.equal(percentage(+share), text);
});

test('with decimals, only a perfect share is 100', () => {
  for (const share of [0.9995, 0.99951, 0.9999, 1 - Number.EPSILON]) {
    assert.equal(percentage(share), '99.9');
    assert.equal(percentage(share, 2), share < 0.99995 ? (100 * share).toFixed(2) : '99.99');
    assert.equal(pct(share, 1), '99.9%');
  }
  assert.equal(percentage(1), '100.0');
  assert.equal(pct(1, 1), '100.0%');
});

test('without decimals, shares are rounded to the nearest percent', () => {
  assert.equal(pct(0.994), '99%');
  assert.equal(pct(0.9951), '100%');
  assert.equal(pct(0), '0%');
});
