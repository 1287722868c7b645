import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import * as address from './address.js';

const BASE = 'http://localhost:7860/proxy/';
let kept; // what the history was asked to do, and what was heard of it

beforeEach(() => {
  kept = { replaced: 0, pushed: 0, heard: [] };
  globalThis.location = new URL(BASE);
  const turn = (name) => (state, _, url) => {
    kept[name] += 1;
    globalThis.history.state = state;
    globalThis.location = new URL(url);
  };
  globalThis.history = {
    state: { of: 'Gradio' },
    replaceState: turn('replaced'),
    pushState: turn('pushed'),
  };
  globalThis.document = new EventTarget();
  document.addEventListener('kg-address', ({ detail }) => kept.heard.push(detail));
});

const at = (query) => {
  globalThis.location = new URL(BASE + query);
  return address.read();
};

const DEFAULTS = {
  run: null,
  sel: null,
  t: null,
  space: 'teacher',
  dim: 2,
  colour: 'class',
  pick: { held: null, lasso: null },
  speed: 'full',
};

test('an empty address has every default', () => {
  assert.deepEqual(at(''), DEFAULTS);
});

test('an address with everything in it', () => {
  const query =
    '?run=my-run&sel=7:3&t=7.4&space=student&dim=3&colour=kr&speed=slow&pick=c3l0000zzzz00zz11110000abcd';
  assert.deepEqual(at(query), {
    run: 'my-run',
    sel: { it: 6, pos: 2 },
    t: { iteration: 6, step: 3 },
    space: 'student',
    dim: 3,
    colour: 'kr',
    pick: { held: 3, lasso: '0000zzzz00zz11110000abcd' },
    speed: 'slow',
  });
});

test('a moment without a step is the end of its iteration', () => {
  assert.deepEqual(at('?t=7').t, { iteration: 6, step: undefined });
  assert.deepEqual(at('?t=1.1').t, { iteration: 0, step: 0 });
  assert.deepEqual(at('?t=9999999.9999999').t, { iteration: 9999998, step: 9999998 });
});

for (const [name, texts] of Object.entries({
  sel: [
    '0:1',
    '1:0',
    '01:1',
    '1',
    '1:1:1',
    '-1:1',
    '1.5:1',
    '12345678:1',
    ' 1:1',
    '1:1\n',
    '１:１',
  ],
  t: ['0', '1.0', '01', '1.', '.1', '-1', '1e3', '12345678', '1.12345678', 'NaN', '1.1.1', '1\n'],
  space: ['Student', 'student ', '__proto__', 'judge'],
  dim: ['4', '03', '3.0', 'three', '-3'],
  colour: ['', 'KR', 'a-b', 'abcdefghijklm', '"><script>', 'var(--x)', 'kr;'],
  speed: ['', 'Slow', 'constructor', 'fast', '0'],
  pick: ['c', 'c-1', 'c12345', 'l', 'l0000000', `l${'0'.repeat(16)}`, `l${'A'.repeat(24)}`],
}))
  test(`hostile values of ${name} count as absent`, () => {
    for (const text of texts)
      assert.deepEqual(at(`?${name}=${encodeURIComponent(text)}`), DEFAULTS, JSON.stringify(text));
  });

test('a lasso has from 3 to 40 corners', () => {
  const lasso = (corners) => at(`?pick=l${'12345678'.repeat(corners)}`).pick.lasso;
  assert.equal(lasso(2), null);
  assert.equal(lasso(3), '12345678'.repeat(3));
  assert.equal(lasso(40), '12345678'.repeat(40));
  assert.equal(lasso(41), null);
});

test('the first of a repeated parameter counts', () => {
  assert.deepEqual(at('?sel=2:2&sel=3:3').sel, { it: 1, pos: 1 });
});

test('a selection survives a round trip', () => {
  for (const sel of [
    { it: 0, pos: 0 },
    { it: 6, pos: 41 },
    { it: 9999998, pos: 9999998 },
  ]) {
    address.write({ sel: address.selection(sel) });
    assert.deepEqual(address.read().sel, sel);
  }
  assert.equal(address.selection(null), null);
});

test('a moment survives a round trip, for each step of each iteration', () => {
  const steps = 5;
  for (let iteration = 0; iteration < 4; iteration += 1)
    for (let step = 0; step <= steps; step += 1) {
      const text = address.written({ iteration, step }, steps);
      assert.equal(text.includes('.'), step < steps);
      address.write({ t: text });
      const { t } = address.read();
      assert.deepEqual({ ...t, step: t.step ?? steps }, { iteration, step });
    }
});

test('a scatter selection survives a round trip', () => {
  const lasso = '0000zzzz00zz11110000abcd';
  for (const [pick, text] of [
    [{ held: 0, lasso: null }, 'c0'],
    [{ held: 999, lasso: null }, 'c999'],
    [{ held: null, lasso }, `l${lasso}`],
    [{ held: 12, lasso }, `c12l${lasso}`],
    [{ held: null, lasso: null }, null],
  ]) {
    assert.equal(address.picked(pick), text);
    address.write({ pick: text });
    assert.deepEqual(address.read().pick, pick);
  }
});

test('run names survive in an address, whatever they contain', () => {
  for (const run of ['a b', 'a&b=c', '50%', '%3A', 'a+b', 'ä/ö?#', '"><img src=x>', '日本', ':,']) {
    address.write({ run });
    assert.equal(address.read().run, run);
  }
});

test('href changes the given parameters and leaves the rest and the address alone', () => {
  at('?tab=inspect&run=a&where=kr:0.5:2,p::0.9&x=1#part');
  const before = location.href;
  const url = new URL(address.href({ run: 'b', x: null, sel: '1:2', none: undefined, n: 0 }));
  assert.equal(location.href, before);
  assert.deepEqual(
    [...url.searchParams],
    [
      ['tab', 'inspect'],
      ['run', 'b'],
      ['where', 'kr:0.5:2,p::0.9'],
      ['sel', '1:2'],
      ['n', '0'],
    ],
  );
  assert.equal(url.hash, '#part');
  assert.equal(url.pathname, '/proxy/');
});

test('colons and commas stay legible', () => {
  assert.equal(
    address.href({ sel: '1:2', where: 'a:1:2,b:3:4' }),
    `${BASE}?sel=1:2&where=a:1:2,b:3:4`,
  );
});

test('write replaces, go adds to the history; both keep its state and tell the page', () => {
  address.write({ t: '3' }, true);
  address.write({ t: '4' });
  address.go({ tab: 'runs' });
  assert.equal(location.search, '?t=4&tab=runs');
  assert.deepEqual(kept, {
    replaced: 2,
    pushed: 1,
    heard: [{ own: true }, { own: false }, { own: false }],
  });
  assert.deepEqual(history.state, { of: 'Gradio' });
});

test('on another page, image and moment belong to that page', () => {
  at('?tab=inspect&run=r&sel=1:2&t=3&pick=c1&space=student&dim=3&speed=watch&colour=kr');
  assert.equal(address.onStudio(), false);
  assert.deepEqual(address.ofStudio(), {
    ...DEFAULTS,
    space: 'student',
    dim: 3,
    speed: 'watch',
    colour: 'kr',
  });
  at('?run=r&sel=1:2&t=3&pick=c1');
  assert.equal(address.onStudio(), true);
  assert.deepEqual(address.ofStudio(), address.read());
});
