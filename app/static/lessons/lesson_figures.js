// Small figures that show a lesson's runs side by side: images, the steps of the first batch, maps,
// and two curves. They are drawn once.

import { cellText, h, pct, s, setAttr } from '../core/dom.js';

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
 * @param {Lesson} lesson
 * @param {any[]} runs The server's data for each run, A first.
 * @returns {HTMLElement[]}
 */
export function figures(lesson, runs) {
  const hasTwo = runs.length > 1;
  const runName = (i) => (hasTwo ? NAMES[i] : '');
  const renderEach = (render) =>
    runs.map(
      (run, i) => render(run) && h('figure', null, h('figcaption', null, runName(i)), render(run)),
    );
  const renderers = {
    images: () =>
      renderEach(
        (run) =>
          run.images && renderSheet(run.images, `Synthetic images of ${run.classes.join(', ')}`),
      ),
    making: () =>
      renderEach(
        (run) =>
          run.making &&
          renderSheet(run.making, `Images at generator steps ${run.making.rows.join(', ')}`),
      ),
    maps: () => [
      ...runs.map(
        (run, i) =>
          run.cam &&
          h(
            'figure',
            null,
            h('figcaption', null, `${runName(i)} map`),
            renderMap(run.cam, `Mean map ${runName(i)}`),
          ),
      ),
      runs[0].target &&
        h(
          'figure',
          null,
          h('figcaption', null, 'Target'),
          renderMap(runs[0].target, 'Target', true),
        ),
    ],
    agreement: () => [
      renderCurve(
        runs.map((run) => run.agreement),
        { runName, x: 'generator step', label: 'Label agreement' },
      ),
    ],
    accuracy: () => [
      renderCurve(
        runs.map((run) => run.accuracy),
        { runName, x: 'student steps', label: 'Accuracy', teacherShare: runs[0].teacher },
      ),
    ],
  };
  return lesson.figures.map((kind) =>
    h(
      'div',
      { class: `fig-${kind}` },
      h(
        'h3',
        null,
        TITLES[kind],
        ['images', 'making'].includes(kind) && runs[0].classes
          ? h('small', { class: 'muted' }, ` ${runs[0].classes.join(', ')}`)
          : null,
      ),
      h('div', { class: 'side' }, renderers[kind]()),
    ),
  );
}

const renderSheet = ({ url, width, height }, label) =>
  h('img', { src: url, alt: label, width: 2 * width, height: 2 * height });

function renderMap(rows, label, target = false) {
  const top = Math.max(1, ...rows.flat());
  return h(
    'div',
    {
      class: `cells${target ? ' target' : ''}`,
      role: 'img',
      'aria-label': `${label}: ${rows.map((row) => row.map(cellText).join(' ')).join('; ')}`,
      style: { '--w': rows[0].length },
    },
    rows
      .flat()
      .map((v) =>
        h('i', { style: { '--v': Math.max(0, Math.min(1, v / top)).toFixed(2) } }, cellText(v)),
      ),
  );
}

/**
 * Draws shares over steps, from 0 to 100%, with one line per run and the run's name at its end.
 * @param {Polygon[]} series
 * @param {{ runName: (i: number) => string, x: string, label: string, teacherShare?: number }}
 *   options
 * @returns {SVGElement}
 */
function renderCurve(series, { runName, x, label, teacherShare }) {
  const w = 440;
  const height = 180;
  const left = 40;
  const right = 28;
  const top = 10;
  const bottom = 30;
  const last = Math.max(1, ...series.flat().map((p) => p[0]));
  const first = Math.min(...series.flat().map((p) => p[0]), last);
  const X = (v) => left + ((w - left - right) * (v - first)) / Math.max(1, last - first);
  const Y = (v) => top + (height - top - bottom) * (1 - v);
  const description = series
    .map((points, i) => (points.length ? `${runName(i)} ends at ${pct(points.at(-1)[1], 1)}` : ''))
    .join(', ');
  const ends = series.map((points) => (points.length ? Y(points.at(-1)[1]) : 0));
  if (ends.length > 1 && Math.abs(ends[0] - ends[1]) < 12) {
    const middle = (ends[0] + ends[1]) / 2;
    const offset = ends[0] <= ends[1] ? -6 : 6;
    ends[0] = middle + offset;
    ends[1] = middle - offset;
  }
  const node = s(
    'svg',
    { viewBox: `0 0 ${w} ${height}`, role: 'img', 'aria-label': `${label}: ${description}` },
    [0, 0.5, 1].map((v) => [
      s('line', { class: 'axis', x1: left, x2: w - right, y1: Y(v), y2: Y(v) }),
      s('text', { x: left - 6, y: Y(v) + 4, 'text-anchor': 'end' }, pct(v)),
    ]),
    teacherShare
      ? [
          s('line', {
            class: 'teacher',
            x1: left,
            x2: w - right,
            y1: Y(teacherShare),
            y2: Y(teacherShare),
          }),
          s('text', { x: left + 4, y: Y(teacherShare) + 13 }, `teacher ${pct(teacherShare, 1)}`),
        ]
      : [],
    s('text', { x: left, y: height - 10 }, first),
    s('text', { x: w - right, y: height - 10, 'text-anchor': 'end' }, `${last} ${x}`),
    series.map((points, i) =>
      points.length
        ? [
            s('path', {
              class: `line v${i}`,
              d: `M${points.map(([a, b]) => `${X(a).toFixed(1)} ${Y(b).toFixed(1)}`).join('L')}`,
            }),
            points.map(([a, b]) => s('circle', { class: `v${i}`, cx: X(a), cy: Y(b), r: 2.5 })),
            s('text', { class: `v${i} end`, x: w - right + 8, y: ends[i] + 4 }, runName(i)),
          ]
        : [],
    ),
  );
  setAttr(node, 'class', 'curve');
  return node;
}
