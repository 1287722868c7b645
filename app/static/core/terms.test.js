import assert from 'node:assert/strict';
import { test } from 'node:test';

import './glossary.stub.js';
const { GENERATOR, REWARD, STUDENT, generatorTerms, inUse, mapNames, weightOf } =
  await import('./terms.js');

const names = (terms) => terms.map(({ name }) => name);
const snap = (weights) => ({ recipe: { weights } });

test('the terms in the order in which charts stack them', () => {
  assert.deepEqual(names(GENERATOR), ['bn', 'ce', 'kr', 'aed', 'tv', 'l2']);
  assert.equal(REWARD.name, 'adv');
  assert.deepEqual(names(STUDENT), ['kl', 'ed']);
});

test('each term has a title and its own glossary entry', () => {
  const all = [...GENERATOR, REWARD, ...STUDENT];
  assert.ok(all.every(({ title }) => title));
  assert.deepEqual(
    all.map(({ tip }) => tip),
    ['bn', 'ce', 'kr', 'aed', 'tv', 'l2', 'adv', 's', 'ed'].map((id) => `tip of l-${id}`),
  );
});

test('a weight is the recipe’s, 0 where it has none, and 1 for distillation', () => {
  assert.equal(weightOf(snap({ kr: 0.1 }), 'kr'), 0.1);
  assert.equal(weightOf(snap({ kr: 0.1 }), 'bn'), 0);
  assert.equal(weightOf(snap(undefined), 'bn'), 0);
  assert.equal(weightOf(snap({ kl: 7 }), 'kl'), 1);
});

test('terms in use: every combination of two weights', () => {
  for (const bn of [0, 5])
    for (const aed of [0, -1]) {
      const used = names(inUse(snap({ bn, aed }), GENERATOR));
      assert.deepEqual(used, [...(bn ? ['bn'] : []), ...(aed ? ['aed'] : [])]);
    }
  assert.deepEqual(names(inUse(snap({}), STUDENT)), ['kl']);
});

test('a run’s own term has its color, unless that is not a color', () => {
  const colorOf = (color) =>
    generatorTerms({
      own_terms: [{ name: 'mine', title: 'Mine', tip: '', weight: 1, color }],
    }).find(({ name }) => name === 'mine').color;
  const none = colorOf(undefined);
  assert.match(none, /^light-dark\(/);
  for (const color of [
    ...['#123456', '#abc', 'teal', 'rgb(1, 2, 3)', 'hsl(120 50% 40% / 0.5)'],
    ...['light-dark(#3f9a3f, #7cc47c)', 'light-dark(teal,oklch(0.7 -0.1 20))'],
  ])
    assert.equal(colorOf(color), color);
  for (const color of [
    ...['', 'url(//x.y/z)', 'var(--x, url(z))', 'image-set("z")', 'red; background: url(z)'],
    ...['light-dark(url(z), red)', 'light-dark(red)', 'rgb(var(--x))', 'red url(z)', 'red\n'],
  ])
    assert.equal(colorOf(color), none, color);
});

test('what a map is called', () => {
  const of = (kind) => mapNames({ map: { kind } });
  assert.equal(of('cam').short, 'CAM');
  assert.equal(of('linearised').title, 'Linearized CAM');
  assert.equal(of('attention').short, 'attention');
  assert.equal(of('none').short, '');
  assert.equal(of('of a later version'), of('cam'));
});
