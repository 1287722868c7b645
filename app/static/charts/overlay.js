// Curves of several runs in one chart: accuracy or agreement (never both in one chart), and each
// loss term. Each run has a color, a dash pattern and a letter.

import {
  badge,
  h,
  num,
  percentage,
  pct,
  setChildren,
  s,
  setText,
  term,
  time,
} from '../core/dom.js';
import { GENERATOR, REWARD, STUDENT } from '../core/terms.js';
import { ticks } from './ticks.js';

/** @import { Axis, ComparedRun, Comparison, AxisPosition, PanelState } from '../core/types.js' */

const DASHES = ['', '7 4', '2 3', '9 3 2 3'];
const LEFT = 34;
const RIGHT = 44;
/** The columns, in every table, that hold the position of a row on an axis. */
const AXES = [{ name: 'pixels' }, { name: 't' }, { name: 'step' }];
const PLOTS = [
  {
    table: 'real',
    name: 'share',
    title: 'Accuracy on real images, %',
    tip: 'Share of real test images that the student classifies correctly. It is never trained on them.',
    large: true,
  },
  {
    table: 'agreement',
    name: 'share',
    title: 'Agreement with the teacher, %',
    tip: 'On held-out synthetic images. This is not an accuracy, and is usually higher.',
    large: true,
  },
  ...[...GENERATOR, REWARD].map((t) => ({ table: 'loss', ...t })),
  ...STUDENT.map((t) => ({ table: 'student_loss', ...t })),
];

/**
 * Describes a position on an axis.
 * @param {Axis} axis
 * @param {number} x
 * @param {ComparedRun[]} runs
 * @returns {string}
 */
export function describePosition(axis, x, runs) {
  if (axis === 'time') return time(x);
  if (axis === 'step') return `generator step ${num(x)}`;
  const budgets = new Set(runs.map((run) => run.budget));
  return (
    `${num(x)} pixels` +
    (budgets.size === 1 && runs[0].budget ? `, ${pct(x / runs[0].budget)} of budget` : '')
  );
}

const shortPosition = (axis, x) =>
  axis === 'time'
    ? x < 60
      ? `${Math.round(x)} s`
      : `${+(x / 60).toFixed(1)} min`
    : x >= 1e6
      ? `${+(x / 1e6).toFixed(1)}M`
      : x >= 1e4
        ? `${Math.round(x / 1e3)}k`
        : num(x);
const UNITS = { budget: 'pixels in the pool', time: 'run time', step: 'generator steps' };
/**
 * Formats a loss with two decimals, or fewer if it is large. `compact` omits trailing zeros, as on
 * an axis.
 */
function formatLoss(v, compact = false) {
  const a = Math.abs(v);
  const text = a === 0 ? '0' : a < 0.005 ? a.toExponential(0) : a.toFixed(a < 10 ? 2 : 0);
  return (v < 0 ? '−' : '') + (compact && a >= 0.005 ? +text : text);
}

/**
 * A run's points on an axis. If several points have the same position, the last one counts. Missing
 * values are skipped.
 */
function pointsOf(table, column, name) {
  const out = [];
  (table[name] ?? []).forEach((y, i) => {
    const x = table[column][i];
    if (y == null || x == null) return;
    if (out.length && out.at(-1)[0] >= x) out.pop();
    out.push([x, y]);
  });
  return out;
}

/** The last point at or before x. */
const upTo = (points, x) => points.findLast((p) => p[0] <= x + 1e-9);

/** The curves of several runs. */
export class Overlay {
  /**
   * @param {HTMLElement} root
   * @param {(x: number) => void} onPick Called when a position on the axis is clicked.
   */
  constructor(root, onPick) {
    this.onPick = onPick;
    this.legend = root.querySelector('.c-legend');
    this.host = root.querySelector('.c-charts');
    this.note = root.querySelector('.note');
    this.charts = new Map();
    new ResizeObserver(() => {
      cancelAnimationFrame(this.pending);
      this.pending = requestAnimationFrame(() => this.state && this.draw(this.state));
    }).observe(this.host);
  }

  /**
   * Draws all charts.
   * @param {PanelState<Comparison, AxisPosition, null>} state
   */
  draw(state) {
    this.state = state;
    const { loadedRuns: runs } = state.snapshot;
    const { axis, column, x, max } = state.moment;
    this.#legend(runs);
    const customTerms = new Set(runs.flatMap((run) => Object.keys(run.columns.loss)));
    for (const { name } of [...PLOTS, ...AXES]) customTerms.delete(name);
    const plots = [
      ...PLOTS,
      ...[...customTerms].map((name) => ({ table: 'loss', name, title: name, tip: '' })),
    ];
    const visiblePlots = plots.filter(({ table, name }) =>
      runs.some((run) => run.columns[table][name]?.length),
    );
    setText(
      this.note,
      visiblePlots.length ? `over ${UNITS[axis]}. Click in a chart to jump there` : 'no steps yet',
    );
    for (const plot of plots) {
      const key = `${plot.table} ${plot.name}`;
      const on = visiblePlots.includes(plot);
      if (!this.charts.has(key)) {
        if (!on) continue;
        this.charts.set(key, this.#chart(plot));
      }
      this.charts.get(key).root.hidden = !on;
      if (on) this.#drawChart(this.charts.get(key), plot, runs, axis, column, x, max);
    }
    const order = visiblePlots.map(({ table, name }) => this.charts.get(`${table} ${name}`).root);
    order.forEach((node, at) => {
      if (this.host.children[at] !== node)
        this.host.insertBefore(node, this.host.children[at] ?? null);
    });
  }

  #legend(runs) {
    const key = JSON.stringify(runs.map((run) => [run.i, run.name]));
    if (key === this.legendKey) return;
    this.legendKey = key;
    setChildren(
      this.legend,
      runs.map((run) =>
        h(
          'span',
          null,
          badge(run.i),
          s(
            'svg',
            { width: 28, height: 8, 'aria-hidden': 'true' },
            s('line', {
              class: 'c-line',
              style: { '--r': `var(--r${run.i})` },
              'stroke-dasharray': DASHES[run.i],
              x1: 0,
              x2: 28,
              y1: 4,
              y2: 4,
            }),
          ),
          run.name,
        ),
      ),
    );
  }

  #chart(plot) {
    const values = h('span', { class: 'c-values' });
    const drawing = h('div', { class: 'c-drawing' });
    const root = h(
      'figure',
      { class: plot.large ? 'large' : null, 'data-plot': `${plot.table} ${plot.name}` },
      h('figcaption', null, term(plot.title, plot.tip), values),
      drawing,
    );
    drawing.addEventListener('pointerdown', (event) => {
      const box = drawing.getBoundingClientRect();
      const share = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
      if (share >= 0 && share <= 1.02) this.onPick(Math.min(1, share) * this.state.moment.max);
    });
    return { root, values, drawing };
  }

  #drawChart(chart, plot, runs, axis, column, x, max) {
    const width =
      this.host.clientWidth && (plot.large ? this.host.clientWidth : chart.drawing.clientWidth);
    const height = plot.large ? 208 : 104;
    if (!width) return;
    const key = JSON.stringify([
      width,
      axis,
      x,
      max,
      runs.map((run) => [run.i, run.columns.cacheKey, run.ceiling]),
    ]);
    if (key === chart.key) return;
    chart.key = key;
    const lines = runs.map((run) => ({
      run,
      points: pointsOf(run.columns[plot.table], column, plot.name),
    }));
    const all = lines.flatMap(({ points }) => points.map((p) => p[1]));
    const ceilings = new Set(
      plot.table === 'real' ? runs.map((run) => run.ceiling).filter((v) => v != null) : [],
    );
    const ceiling = ceilings.size === 1 ? [...ceilings][0] : null;
    let low = Math.min(...all);
    let high = Math.max(...all, ceiling ?? -Infinity);
    if (plot.large)
      [low, high] = [
        Math.max(0, Math.floor(10 * low - 0.5) / 10),
        Math.min(1, Math.ceil(10 * high) / 10),
      ];
    else [low, high] = [Math.min(0, low), Math.max(0, high)];
    if (high === low) high = low + 1;
    const x1 = width - RIGHT;
    const y0 = 8;
    const y1 = height - 18;
    const X = (v) => LEFT + (v / max) * (x1 - LEFT);
    const Y = (v) => y1 - ((v - low) / (high - low)) * (y1 - y0);
    const text = (px, py, content, props) => s('text', { x: px, y: py, ...props }, content);
    const out = [];
    for (const v of ticks(low, high, plot.large ? 4 : 2))
      out.push(
        s('line', { class: v === 0 ? 'axis' : 'grid', x1: LEFT, x2: x1, y1: Y(v), y2: Y(v) }),
        text(LEFT - 6, Y(v) + 4, plot.large ? Math.round(100 * v) : formatLoss(v, true), {
          'text-anchor': 'end',
        }),
      );
    const unit = axis === 'time' && max >= 120 ? 60 : 1; // round minutes
    for (const v of ticks(0, max / unit, width > 420 ? 4 : 2).map((tick) => tick * unit))
      if (X(v) < x1 + 8)
        out.push(
          text(X(v), height - 3, shortPosition(axis, v), { 'text-anchor': v ? 'middle' : 'start' }),
        );
    if (ceiling != null)
      out.push(
        s('line', { class: 'teacher-line', x1: LEFT, x2: x1, y1: Y(ceiling), y2: Y(ceiling) }),
        text(
          LEFT + 4,
          Y(ceiling) < 20 ? Y(ceiling) + 14 : Y(ceiling) - 4,
          `teacher ${percentage(ceiling)}`,
          { class: 'halo' },
        ),
      );
    out.push(s('line', { class: 'c-moment', x1: X(x), x2: X(x), y1: y0, y2: y1 }));
    const ends = [];
    for (const { run, points } of lines) {
      if (!points.length) continue;
      const style = { '--r': `var(--r${run.i})` };
      const here = upTo(points, x);
      const [ex, ey] = points.at(-1);
      out.push(
        s('path', {
          class: 'c-line',
          style,
          'stroke-dasharray': DASHES[run.i],
          d: `M${points.map((p) => `${X(p[0]).toFixed(1)} ${Y(p[1]).toFixed(1)}`).join('L')}`,
        }),
      );
      if (points.length === 1 || here)
        out.push(
          s('circle', {
            class: 'c-dot',
            style,
            cx: X((here ?? points[0])[0]),
            cy: Y((here ?? points[0])[1]),
            r: 3.5,
          }),
        );
      ends.push({ run, x: X(ex), y: Y(ey), style });
    }
    ends
      .sort((a, b) => a.y - b.y)
      .forEach((end, at) => {
        end.y = Math.max(end.y, at ? ends[at - 1].y + 12 : y0 + 4);
      }); // spread the letters so that they do not overlap
    for (const { run, x: ex, y, style } of ends)
      out.push(
        text(ex + 6, Math.min(y + 4, y1 + 4), run.letter, { class: 'c-letter halo', style }),
      );
    const values = lines.map(({ run, points }) => [run.letter, upTo(points, x)?.[1]]);
    const labels = values.map(
      ([letter, v]) => `${letter} ${v == null ? '–' : plot.large ? percentage(v) : formatLoss(v)}`,
    );
    setChildren(
      chart.drawing,
      s(
        'svg',
        {
          viewBox: `0 0 ${width} ${height}`,
          height,
          role: 'img',
          'aria-label': `${plot.title}: ${labels.join(', ')} at ${describePosition(axis, x, runs)}`,
        },
        out,
      ),
    );
    setChildren(
      chart.values,
      runs.map((run, at) =>
        h(
          'span',
          { style: { '--r': `var(--r${run.i})` } },
          h('b', null, run.letter),
          labels[at].slice(1),
        ),
      ),
    );
  }
}
