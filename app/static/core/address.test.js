import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { beforeEach, test } from 'node:test';

import * as address from './address.js';

const BASE = 'http://localhost:7860/proxy/';
let calls; // calls to the history, and the events they caused

beforeEach(() => {
  calls = { replaced: 0, pushed: 0, events: [] };
  globalThis.location = new URL(BASE);
  const turn = (name) => (state, _, url) => {
    calls[name] += 1;
    globalThis.history.state = state;
    if (url) globalThis.location = new URL(url);
  };
  globalThis.history = {
    state: { of: 'Gradio' },
    replaceState: turn('replaced'),
    pushState: turn('pushed'),
  };
  globalThis.document = new EventTarget();
  document.addEventListener('kg-address', ({ detail }) => calls.events.push(detail));
});

const go = (query) => {
  globalThis.location = new URL(BASE + query);
};
const names = (fits) =>
  Object.entries(address.PARAMETERS)
    .filter(([, one]) => fits(one))
    .map(([name]) => name);

const LASSO = '0000zzzz00zz11110000abcd';
const DEFAULTS = {
  tab: 'studio',
  run: null,
  sel: null,
  t: null,
  pick: { selectedClass: null, lasso: null },
  space: 'teacher',
  dim: 2,
  colour: 'class',
  over: 'image',
  as: 'numbers',
  speed: 'full',
  class: null,
  sort: null,
  where: null,
  step: null,
  maps: 'numbers',
  runs: [],
  by: 'budget',
  point: null,
  lesson: null,
  sweep: null,
  across: null,
  down: null,
  term: null,
  __theme: null,
};

/** For each parameter, values and how links have always written them. */
const WRITTEN = {
  tab: { inspect: 'inspect', runs: 'runs' },
  run: { 'my-run': 'my-run', 'ä/ö?#&=+% "<': 'ä/ö?#&=+% "<' },
  sel: {
    '1:1': { it: 0, pos: 0 },
    '7:3': { it: 6, pos: 2 },
    '9999999:9999999': { it: 9999998, pos: 9999998 },
  },
  t: {
    7: { iteration: 6, step: undefined },
    7.4: { iteration: 6, step: 3 },
    1.1: { iteration: 0, step: 0 },
    9999999.9999999: { iteration: 9999998, step: 9999998 },
  },
  pick: {
    c0: { selectedClass: 0, lasso: null },
    c999: { selectedClass: 999, lasso: null },
    [`l${LASSO}`]: { selectedClass: null, lasso: LASSO },
    [`c12l${LASSO}`]: { selectedClass: 12, lasso: LASSO },
  },
  space: { student: 'student' },
  dim: { 3: 3 },
  colour: { kr: 'kr', newest: 'newest' },
  over: { cam: 'cam' },
  as: { surface: 'surface' },
  speed: { slow: 'slow', watch: 'watch' },
  class: { 0: 0, 3: 3, 9999999: 9999999 },
  sort: { '-kr': '-kr', p: 'p' },
  where: { 'kr:0.5:2,p::0.9': 'kr:0.5:2,p::0.9' },
  step: { 1: 0, 40: 39 },
  maps: { surface: 'surface' },
  runs: { a: ['a'], 'a,b.c-d_1': ['a', 'b.c-d_1'] },
  by: { time: 'time', step: 'step' },
  point: { 0: 0, 12345: 12345 },
  lesson: { glossary: 'glossary', '01-start': '01-start' },
  sweep: { 'kr-and-steps': 'kr-and-steps' },
  across: { 'weights.kr': 'weights.kr' },
  down: { seed: 'seed' },
  term: { kr: 'kr' },
  __theme: { dark: 'dark', light: 'light' },
};

const HOSTILE = {
  tab: ['', 'Inspect', '__proto__', 'studio/'],
  run: [''],
  sel: [
    '',
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
  t: [
    '',
    '0',
    '1.0',
    '01',
    '1.',
    '.1',
    '-1',
    '1e3',
    '12345678',
    '1.12345678',
    'NaN',
    '1.1.1',
    '1\n',
  ],
  pick: ['', 'c', 'c-1', 'c12345', 'l', 'l0000000', `l${'0'.repeat(16)}`, `l${'A'.repeat(24)}`],
  space: ['', 'Student', 'student ', '__proto__', 'judge'],
  dim: ['', '4', '03', '3.0', 'three', '-3'],
  colour: ['', 'KR', 'a-b', 'abcdefghijklm', '"><script>', 'var(--x)', 'kr;'],
  over: ['', 'CAM', 'constructor'],
  as: ['', 'surfaces'],
  speed: ['', 'Slow', 'constructor', 'fast', '0'],
  class: ['', '-1', '1.5', '1e3', '12345678', ' 1', '1\n', 'NaN', '１'],
  sort: [''],
  where: [''],
  step: ['', '0', '-1', '1.5', '12345678', ' 1', 'NaN'],
  maps: ['', '3-D'],
  runs: ['', ',', '-a', '../x', 'a b', 'a'.repeat(121), '<b>,&'],
  by: ['', 'toString', 'pixels'],
  point: ['', ' ', '-1', 'NaN', 'Infinity', '1e999', 'x', '1,5'], // an empty one is not moment 0
  lesson: [''],
  sweep: [''],
  across: [''],
  down: [''],
  term: [''],
  __theme: ['', 'Dark', 'system'],
};

test('an address without parameters has every default', () => {
  assert.deepEqual(address.parse(''), DEFAULTS);
  assert.deepEqual(Object.keys(address.PARAMETERS), Object.keys(DEFAULTS));
  assert.deepEqual(Object.keys(WRITTEN), Object.keys(DEFAULTS));
  assert.deepEqual(Object.keys(HOSTILE), Object.keys(DEFAULTS));
});

for (const [name, written] of Object.entries(WRITTEN))
  test(`${name} survives a round trip, in the form that links have always had`, () => {
    for (const [text, value] of Object.entries(written)) {
      const read = address.parse(new URLSearchParams([[name, text]]).toString());
      assert.deepEqual(read, { ...DEFAULTS, [name]: value }, text);
      address.write({ [name]: value });
      assert.equal(new URLSearchParams(location.search).get(name), text);
      assert.deepEqual(address.parse(location.search), read);
    }
  });

for (const [name, texts] of Object.entries(HOSTILE))
  test(`malformed values of ${name} count as absent`, () => {
    for (const text of texts)
      assert.deepEqual(
        address.parse(`?${name}=${encodeURIComponent(text)}`),
        DEFAULTS,
        JSON.stringify(text),
      );
  });

test('a default is left out, whether as null or as its value', () => {
  for (const [name, value] of Object.entries(DEFAULTS)) {
    const [[text]] = Object.entries(WRITTEN[name]);
    for (const none of [null, undefined, value]) {
      go(`?${name}=${text}`);
      address.write({ [name]: none });
      assert.equal(location.href, BASE, name);
    }
  }
});

test('a lasso has from 3 to 40 corners', () => {
  const lasso = (corners) => address.parse(`?pick=l${'12345678'.repeat(corners)}`).pick.lasso;
  assert.equal(lasso(2), null);
  assert.equal(lasso(3), '12345678'.repeat(3));
  assert.equal(lasso(40), '12345678'.repeat(40));
  assert.equal(lasso(41), null);
});

test('up to four runs, each once; invalid names are left out', () => {
  const of = (text) => address.parse(`?runs=${text}`).runs;
  assert.deepEqual(of('a,b,a,-c,d,,e,f'), ['a', 'b', 'd', 'e']);
  assert.deepEqual(of('a,b,c,d,e'), ['a', 'b', 'c', 'd']);
});

test('a place on the axis is written as a whole number', () => {
  address.write({ point: 12.6 });
  assert.equal(location.search, '?point=13');
  assert.equal(address.parse('?point=0.5').point, 0.5);
});

test('the first of a repeated parameter counts', () => {
  assert.deepEqual(address.parse('?sel=2:2&sel=3:3').sel, { it: 1, pos: 1 });
});

test('which page has which parameters', () => {
  const of = (page) => names(({ pages }) => pages.includes(page) && pages.length < 5);
  assert.deepEqual(of('studio'), [
    ...['run', 'sel', 't', 'pick', 'space', 'dim', 'colour', 'over', 'as', 'speed'],
  ]);
  assert.deepEqual(of('inspect'), ['run', 'sel', 'class', 'sort', 'where', 'step', 'maps']);
  assert.deepEqual(of('compare'), ['runs', 'by', 'point']);
  assert.deepEqual(of('lessons'), ['lesson', 'term']);
  assert.deepEqual(of('runs'), ['sweep', 'across', 'down']);
});

test('on another page, run, image and moment belong to that page; preferences stay', () => {
  go('?tab=inspect&run=r&sel=1:2&t=3&pick=c1&space=student&dim=3&speed=watch&colour=kr&class=4');
  assert.equal(address.page(), 'inspect');
  assert.deepEqual(address.read('studio'), {
    ...DEFAULTS,
    space: 'student',
    dim: 3,
    speed: 'watch',
    colour: 'kr',
    tab: 'inspect',
  });
  assert.deepEqual(address.read('inspect'), {
    ...DEFAULTS,
    tab: 'inspect',
    run: 'r',
    sel: { it: 0, pos: 1 },
    class: 4,
  });
  go('?run=r&sel=1:2&t=3&pick=c1&class=4');
  assert.equal(address.page(), 'studio');
  assert.deepEqual(address.read('studio'), { ...address.parse(location.search), class: null });
  assert.deepEqual(address.read('inspect').sel, null);
});

test('href changes the given parameters and leaves the rest and the address alone', () => {
  go('?tab=inspect&run=a&where=kr:0.5:2,p::0.9&x=1&sort=p#part');
  const before = location.href;
  const url = new URL(
    address.href({ run: 'b', sort: null, sel: { it: 0, pos: 1 }, term: undefined, class: 0 }),
  );
  assert.equal(location.href, before);
  assert.deepEqual(
    [...url.searchParams],
    [
      ['tab', 'inspect'],
      ['run', 'b'],
      ['where', 'kr:0.5:2,p::0.9'],
      ['x', '1'], // unknown, so it is someone else's
      ['sel', '1:2'],
      ['class', '0'],
    ],
  );
  assert.equal(url.hash, '#part');
  assert.equal(url.pathname, '/proxy/');
});

test('a relative link has the given parameters and no others', () => {
  go('?tab=inspect&run=a&x=1');
  assert.equal(address.link({ tab: 'lessons' }), '?tab=lessons');
  assert.equal(
    address.link({ tab: 'lessons', lesson: 'glossary', term: 'kr' }),
    '?tab=lessons&lesson=glossary&term=kr',
  );
  assert.equal(address.link({ tab: 'inspect', run: 'a&b' }), '?tab=inspect&run=a%26b');
  assert.equal(address.link({ tab: 'studio' }), '?');
});

test('colons and commas stay legible', () => {
  const where = 'a:1:2,b:3:4';
  assert.equal(
    address.href({ sel: { it: 0, pos: 1 }, where }),
    `${BASE}?sel=1:2&where=a:1:2,b:3:4`,
  );
});

test('write replaces, go adds to the history; both keep its state and notify the page', () => {
  address.write({ t: { iteration: 2 } }, true);
  address.write({ t: { iteration: 3 } });
  address.go({ tab: 'runs' });
  assert.equal(location.search, '?t=4&tab=runs');
  assert.deepEqual(calls, {
    replaced: 2,
    pushed: 1,
    events: [{ automatic: true }, { automatic: false }, { automatic: false }],
  });
  assert.deepEqual(history.state, { of: 'Gradio' });
});

test('leaving a page removes what only concerns its list', () => {
  const query = '?tab=runs&run=r&sel=1:2&class=1&sort=p&where=p:0.5:&step=3&maps=surface&x=1';
  go(query);
  address.leave('studio');
  assert.equal(location.search, query);
  address.leave('inspect');
  assert.equal(location.search, '?tab=runs&run=r&sel=1:2&maps=surface&x=1');
});

test('a copied link has nothing personal, and nothing that waits on another page', () => {
  go('?tab=inspect&run=r&sel=1:2&runs=a,b&by=time&point=7&lesson=l&term=t&speed=slow&__theme=dark');
  assert.equal(address.shareableHref('inspect'), `${BASE}?tab=inspect&run=r&sel=1:2`);
  assert.equal(
    address.shareableHref('compare', { tab: 'compare' }),
    `${BASE}?tab=compare&run=r&sel=1:2&runs=a,b&by=time&point=7`,
  );
  assert.equal(address.shareableHref('inspect', { run: 's' }), `${BASE}?tab=inspect&run=s&sel=1:2`);
});

test('an audience follows everything that is legible and not personal, known or not', () => {
  const all = address.shared('?x=1&tab=inspect&speed=slow&__theme=dark&sel=1:2&run=a%20b&Bad=1');
  assert.deepEqual(all, { sel: '1:2', tab: 'inspect', x: '1' });
  assert.deepEqual(Object.keys(all), ['sel', 'tab', 'x']); // comparable as text
  go('?x=1&sel=1:2&speed=slow&__theme=dark&run=a');
  address.follow({ tab: 'runs', sel: '3:4', later: 'v' });
  assert.deepEqual([...new URLSearchParams(location.search)].sort(), [
    ['__theme', 'dark'],
    ['later', 'v'],
    ['sel', '3:4'],
    ['speed', 'slow'],
    ['tab', 'runs'],
  ]);
  assert.deepEqual(calls.events, [{ automatic: false }]);
});

test('a history entry remembers a place beside what Gradio keeps there', () => {
  assert.equal(address.remembered(), null);
  address.remember({ top: 7 });
  assert.deepEqual(history.state, { of: 'Gradio', kgWall: { top: 7 } });
  assert.deepEqual(address.remembered(), { top: 7 });
  assert.equal(location.href, BASE);
});

const PAGES = new URL('../../pages/html/', import.meta.url);
const HTML = readdirSync(PAGES)
  .filter((name) => name.endsWith('.html'))
  .map((name) => readFileSync(new URL(name, PAGES), 'utf8'))
  .join('');

test('switches on the page have the values of the table, the default first', () => {
  const groups = [...HTML.matchAll(/data-address="(\w+)">(.*?)<\/div>/g)];
  assert.deepEqual(groups.map(([, name]) => name).sort(), ['as', 'dim', 'maps', 'over', 'space']);
  for (const [, name, html] of groups) {
    const texts = [...html.matchAll(/value="(\w+)"/g)].map(([, value]) => value);
    const { parse, defaultValue } = address.PARAMETERS[name];
    assert.equal(texts[0], String(defaultValue));
    assert.deepEqual(
      texts.map((text) => String(parse(text))),
      texts,
    );
  }
});

test('the pages of the table are those of the tabs', () => {
  const tabs = [...HTML.matchAll(/<main [^>]*data-page="(\w+)"/g)].map(([, name]) => name);
  assert.deepEqual(address.PARAMETERS.tab.pages.toSorted(), tabs.toSorted());
});

test('no other module reads or writes the address', () => {
  const root = new URL('../', import.meta.url);
  for (const file of readdirSync(root, { recursive: true }))
    if (file.endsWith('.js') && !file.endsWith('.test.js') && file !== 'core/address.js')
      assert.doesNotMatch(
        readFileSync(new URL(file, root), 'utf8'),
        /URLSearchParams|searchParams|location\.(search|hash)|(replace|push)State|history\.state\b(?! }\))/,
        file,
      );
});
