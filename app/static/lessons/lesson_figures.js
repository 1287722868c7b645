// Small figures of a lesson's runs, side by side: images, the steps of the first batch, maps, and
// two curves. Drawn once.

import { cell, h, pct, s, setAttr } from '../core/dom.js';

/** @import { Lesson, Polygon } from '../core/types.js' */

const NAMES = ['A', 'B'];
const TITLES = {
  images: 'The last batch, three images per class',
  making: 'The first batch, from the first generator step (top) to the last',
  maps: 'Mean map of the last batch, and its target',
  agreement: 'Label agreement during a batch, by generator step',
  accuracy: 'Accuracy on real test images, by student step',
};

/**
 * Draws the figures of a lesson.
 * @param {Lesson} told
 * @param {any[]} found The server's data for each run, A first.
 * @returns {HTMLElement[]}
 */
export function figures(told, found) {
  const two = found.length > 1;
  const name = (i) => (two ? NAMES[i] : '');
  const each = (make) =>
    found.map(
      (run, i) => make(run) && h('figure', null, h('figcaption', null, name(i)), make(run)),
    );
  const drawn = {
    images: () =>
      each(
        (run) => run.images && sheet(run.images, `Synthetic images of ${run.classes.join(', ')}`),
      ),
    making: () =>
      each(
        (run) =>
          run.making &&
          sheet(run.making, `Images at generator steps ${run.making.rows.join(', ')}`),
      ),
    maps: () => [
      ...found.map(
        (run, i) =>
          run.cam &&
          h(
            'figure',
            null,
            h('figcaption', null, `${name(i)} map`),
            grid(run.cam, `Mean map ${name(i)}`),
          ),
      ),
      found[0].target &&
        h('figure', null, h('figcaption', null, 'Target'), grid(found[0].target, 'Target', true)),
    ],
    agreement: () => [
      curve(
        found.map((run) => run.agreement),
        { name, x: 'generator step', label: 'Label agreement' },
      ),
    ],
    accuracy: () => [
      curve(
        found.map((run) => run.accuracy),
        { name, x: 'student steps', label: 'Accuracy', line: found[0].teacher },
      ),
    ],
  };
  return told.figures.map((kind) =>
    h(
      'div',
      { class: `fig-${kind}` },
      h(
        'h3',
        null,
        TITLES[kind],
        ['images', 'making'].includes(kind) && found[0].classes
          ? h('small', { class: 'muted' }, ` ${found[0].classes.join(', ')}`)
          : null,
      ),
      h('div', { class: 'side' }, drawn[kind]()),
    ),
  );
}

const sheet = ({ url, width, height }, label) =>
  h('img', { src: url, alt: label, width: 2 * width, height: 2 * height });

function grid(rows, label, target = false) {
  const top = Math.max(1, ...rows.flat());
  return h(
    'div',
    {
      class: `cells${target ? ' target' : ''}`,
      role: 'img',
      'aria-label': `${label}: ${rows.map((row) => row.map(cell).join(' ')).join('; ')}`,
      style: { '--w': rows[0].length },
    },
    rows
      .flat()
      .map((v) =>
        h('i', { style: { '--v': Math.max(0, Math.min(1, v / top)).toFixed(2) } }, cell(v)),
      ),
  );
}

/**
 * Draws shares over steps, from 0 to 100%, one line per run, named at its end.
 * @param {Polygon[]} series
 * @param {{ name: (i: number) => string, x: string, label: string, line?: number }} options `line`:
 *   the teacher's share.
 * @returns {SVGElement}
 */
function curve(series, { name, x, label, line }) {
  const w = 440;
  const high = 180;
  const left = 40;
  const right = 28;
  const top = 10;
  const bottom = 30;
  const last = Math.max(1, ...series.flat().map((p) => p[0]));
  const first = Math.min(...series.flat().map((p) => p[0]), last);
  const X = (v) => left + ((w - left - right) * (v - first)) / Math.max(1, last - first);
  const Y = (v) => top + (high - top - bottom) * (1 - v);
  const said = series
    .map((points, i) => (points.length ? `${name(i)} ends at ${pct(points.at(-1)[1], 1)}` : ''))
    .join(', ');
  const ends = series.map((points) => (points.length ? Y(points.at(-1)[1]) : 0));
  if (ends.length > 1 && Math.abs(ends[0] - ends[1]) < 12) {
    const middle = (ends[0] + ends[1]) / 2;
    const up = ends[0] <= ends[1] ? -6 : 6;
    ends[0] = middle + up;
    ends[1] = middle - up;
  }
  const node = s(
    'svg',
    { viewBox: `0 0 ${w} ${high}`, role: 'img', 'aria-label': `${label}: ${said}` },
    [0, 0.5, 1].map((v) => [
      s('line', { class: 'axis', x1: left, x2: w - right, y1: Y(v), y2: Y(v) }),
      s('text', { x: left - 6, y: Y(v) + 4, 'text-anchor': 'end' }, pct(v)),
    ]),
    line
      ? [
          s('line', { class: 'teacher', x1: left, x2: w - right, y1: Y(line), y2: Y(line) }),
          s('text', { x: left + 4, y: Y(line) + 13 }, `teacher ${pct(line, 1)}`),
        ]
      : [],
    s('text', { x: left, y: high - 10 }, first),
    s('text', { x: w - right, y: high - 10, 'text-anchor': 'end' }, `${last} ${x}`),
    series.map((points, i) =>
      points.length
        ? [
            s('path', {
              class: `line v${i}`,
              d: `M${points.map(([a, b]) => `${X(a).toFixed(1)} ${Y(b).toFixed(1)}`).join('L')}`,
            }),
            points.map(([a, b]) => s('circle', { class: `v${i}`, cx: X(a), cy: Y(b), r: 2.5 })),
            s('text', { class: `v${i} end`, x: w - right + 8, y: ends[i] + 4 }, name(i)),
          ]
        : [],
    ),
  );
  setAttr(node, 'class', 'curve');
  return node;
}
