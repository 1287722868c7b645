import assert from 'node:assert/strict';
import { test } from 'node:test';

import { random } from '../core/random.stub.js';
import { read, simplify, pointsInside, write } from './lasso.js';

const STEP = 17 / (36 ** 4 - 1); // the grid that an address can name, from −8 to 9

const polygon = (next, corners) =>
  Array.from({ length: corners }, () => [next() * 2 - 0.5, next() * 2 - 0.5]);

/** A polygon that does not cross itself. */
const star = (next, corners) =>
  Array.from({ length: corners }, (_, i) => {
    const r = 0.2 + next();
    const angle = (2 * Math.PI * i) / corners;
    return [r * Math.cos(angle), r * Math.sin(angle)];
  });

const shoelace = (points) =>
  points.reduce((sum, [x, y], i) => {
    const [ax, ay] = points.at(i - 1);
    return sum + (ax * y - x * ay) / 2;
  }, 0);

test('a polygon survives a round trip, to half a grid step', () => {
  const next = random(1);
  for (let n = 3; n <= 40; n += 1) {
    const sent = polygon(next, n);
    const text = write(sent);
    const got = read(text);
    assert.match(text, new RegExp(`^([0-9a-z]{8}){${n}}$`));
    assert.equal(got.length, n);
    got.flat().forEach((v, i) => assert.ok(Math.abs(v - sent.flat()[i]) <= STEP / 2 + 1e-12));
    assert.equal(write(got), text); // a shared link stays the same
  }
});

test('the ends of the grid, and what lies beyond', () => {
  assert.equal(write([[-8, 9]]), '0000zzzz');
  assert.equal(write([[-1e9, Infinity]]), '0000zzzz');
  assert.deepEqual(read('0000zzzz'), [[-8, 9]]);
  assert.equal(write([[-8 + STEP, -8 + 36 * STEP]]), '00010010');
});

test('places inside a square', () => {
  const square = [
    [0, 0],
    [1, 0],
    [1, 1],
    [0, 1],
  ];
  const xs = [0.5, 1.5, -0.5, 0.5, 0.5, 0.01];
  const ys = [0.5, 0.5, 0.5, 1.5, -0.5, 0.99];
  assert.deepEqual(pointsInside(square, xs, ys), [0, 5]);
  assert.deepEqual(pointsInside(square.toReversed(), xs, ys), [0, 5]);
  assert.deepEqual(pointsInside(square, [], []), []);
});

test('the middle of a pentagram is outside: even–odd', () => {
  const corner = (k) => [Math.sin((4 * Math.PI * k) / 5), Math.cos((4 * Math.PI * k) / 5)];
  assert.deepEqual(pointsInside([0, 1, 2, 3, 4].map(corner), [0, 0], [0, 0.7]), [1]);
});

/** Oracle: how often the polygon winds around the place, from the sum of angles. */
function windings(points, x, y) {
  let sum = 0;
  points.forEach(([bx, by], i) => {
    const [ax, ay] = points.at(i - 1);
    let turn = Math.atan2(by - y, bx - x) - Math.atan2(ay - y, ax - x);
    if (turn > Math.PI) turn -= 2 * Math.PI;
    if (turn < -Math.PI) turn += 2 * Math.PI;
    sum += turn;
  });
  return Math.round(sum / (2 * Math.PI));
}

test('random places in random polygons, against winding numbers', () => {
  const next = random(2);
  let inside = 0;
  for (let round = 0; round < 60; round += 1) {
    const points = polygon(next, 3 + (round % 20));
    const xs = Array.from({ length: 50 }, () => next() * 2 - 0.5);
    const ys = Array.from({ length: 50 }, () => next() * 2 - 0.5);
    const wanted = xs.map((_, i) => i).filter((i) => windings(points, xs[i], ys[i]) % 2 !== 0);
    assert.deepEqual(pointsInside(points, xs, ys), wanted);
    inside += wanted.length;
  }
  assert.ok(inside > 300 && inside < 2700); // the test saw both kinds
});

/** Oracle: drop the corner whose loss changes the area of the whole polygon least. */
function simplified(points, most) {
  let kept = points;
  while (kept.length > most) {
    const whole = shoelace(kept);
    const costs = kept.map((_, i) => Math.abs(whole - shoelace(kept.toSpliced(i, 1))));
    kept = kept.toSpliced(costs.indexOf(Math.min(...costs)), 1);
  }
  return kept;
}

test('a long lasso keeps the 40 corners that matter, against brute force', () => {
  const next = random(3);
  for (const corners of [41, 60, 150]) {
    const points = star(next, corners);
    const before = structuredClone(points);
    assert.deepEqual(simplify(points), simplified(points, 40));
    assert.deepEqual(points, before); // the given polygon is not touched
  }
});

test('a short lasso stays as it is', () => {
  for (const corners of [3, 40]) {
    const points = star(random(4), corners);
    assert.deepEqual(simplify(points), points);
  }
});

test('corners on a straight line are the first to go', () => {
  const side = (x0, y0, x1, y1) =>
    Array.from({ length: 20 }, (_, i) => [x0 + ((x1 - x0) * i) / 20, y0 + ((y1 - y0) * i) / 20]);
  const square = [
    ...side(0, 0, 1, 0),
    ...side(1, 0, 1, 1),
    ...side(1, 1, 0, 1),
    ...side(0, 1, 0, 0),
  ];
  const kept = simplify(square);
  assert.equal(kept.length, 40);
  for (const corner of [
    [0, 0],
    [1, 0],
    [1, 1],
    [0, 1],
  ])
    assert.ok(kept.some(([x, y]) => x === corner[0] && y === corner[1]));
  assert.ok(Math.abs(shoelace(kept) - 1) < 1e-9);
});
