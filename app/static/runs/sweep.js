// One sweep: parallel coordinates, a matrix of two fields, and all its runs as a table, from which
// every run can be reached with the keyboard.

import * as address from '../core/address.js';
import { h, num, pct, percentage, resolveColors, setAttr, setChildren } from '../core/dom.js';
import { setText, time } from '../core/dom.js';
import { CONFIG, layout, loadPlotly } from '../core/plotly.js';
import { requestJson } from '../core/server.js';
import { describeStates, inPage, sweepStateName } from './sweep_list.js';
import * as data from './sweep_data.js';

/** @import { Changes, Sweep, SweepCell, SweepRun } from '../core/types.js' */

const PERIOD_MS = 4000;
const MAX_LINES = 500;
const MAX_TICKS = 8;
const MAX_LABEL = 16;

const shorten = (text, length = MAX_LABEL) =>
  text.length > length ? `${text.slice(0, length - 1)}…` : text;
const escape = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

/** The view of one sweep. */
export class SweepView {
  /**
   * @param {HTMLElement} root Of the Runs page.
   * @param {object} hooks
   * @param {string} hooks.base
   * @param {string} hooks.plotly Address of Plotly.
   * @param {(changes: Changes) => void} hooks.inspect Goes to a run on the Inspect page.
   * @param {(changes: Changes) => void} hooks.go Changes what the page shows.
   */
  constructor(root, { base, plotly, inspect, go }) {
    this.base = base;
    this.plotly = plotly;
    this.inspect = inspect;
    /** @type {string | null} */
    this.name = null;
    /** @type {Sweep | null} */
    this.sweep = null;
    /** @type {{ x: number, y: number } | null} */
    this.cell = null;
    this.root = root.querySelector('.sweep');
    const find = (selector) => /** @type {HTMLElement} */ (this.root.querySelector(selector));
    this.title = find('h2');
    this.summary = find('.summary');
    this.message = find('.none');
    this.charts = find('.sweep-charts');
    this.parallel = find('.parallel .chart');
    this.matrix = find('.matrix .chart');
    this.matrixFigure = find('.matrix');
    this.shown = find('.shown');
    this.all = find('.all');
    this.table = find('.sweep-runs');
    this.head = find('thead');
    this.body = find('tbody');
    this.back = /** @type {HTMLAnchorElement} */ (find('.back'));
    this.across = /** @type {HTMLSelectElement} */ (find('[name=kg-across]'));
    this.down = /** @type {HTMLSelectElement} */ (find('[name=kg-down]'));
    this.back.addEventListener(
      'click',
      inPage(() => go({ sweep: null, across: null, down: null })),
    );
    this.all.addEventListener('click', () => this.#selectCell(null));
    for (const select of [this.across, this.down])
      select.addEventListener('change', () => {
        address.write({ [select === this.across ? 'across' : 'down']: select.value });
        this.#selectCell(null);
        this.#draw();
      });
    new MutationObserver(() => this.sweep && this.#draw()).observe(document.body, {
      attributeFilter: ['class'],
    });
    document.addEventListener('visibilitychange', () => this.#refreshSoon(0));
  }

  /**
   * Shows a sweep; null hides the view.
   * @param {string | null} name
   */
  show(name) {
    if (name !== this.name) {
      this.sweep = this.cell = null;
      this.key = '';
      setText(this.title, name ?? '');
      setText(this.summary, name ? 'Loading…' : '');
      for (const node of [this.charts, this.table, this.message]) setAttr(node, 'hidden', true);
    }
    const isEntered = name && this.isReady && name !== this.name;
    this.isReady = true;
    this.name = name;
    setAttr(this.root, 'hidden', !name);
    if (isEntered) this.back.focus(); // the link that led here is gone
    this.back.href = address.link({ tab: 'runs' });
    this.#refreshSoon(0);
  }

  #refreshSoon(wait) {
    clearTimeout(this.timer);
    if (this.name && document.visibilityState === 'visible')
      this.timer = setTimeout(() => this.#refresh(), wait);
  }

  async #refresh() {
    const { name } = this;
    try {
      const sweep = await requestJson(`${this.base}/kg/sweeps/${encodeURIComponent(name)}`);
      if (name !== this.name) return;
      const key = JSON.stringify(sweep);
      if (key !== this.key) {
        this.key = key;
        this.sweep = sweep;
        await this.#draw();
      }
    } catch (error) {
      if (name !== this.name) return;
      if (!this.sweep) {
        setText(this.summary, '');
        this.#say(error.message);
      }
    }
    this.#refreshSoon(PERIOD_MS);
  }

  #say(text) {
    setText(this.message, text);
    setAttr(this.message, 'hidden', !text);
  }

  async #draw() {
    const { sweep } = this;
    /** @type {Record<string, number>} */
    const states = {};
    for (const { state } of sweep.runs) states[state] = (states[state] ?? 0) + 1;
    setText(
      this.summary,
      `${sweep.recipe} over ${sweep.axes.map(({ field }) => field).join(', ') || 'the seed'}: ${describeStates(sweep.runs.length, states)}.`,
    );
    const finished = data.finishedRuns(sweep);
    this.#say(finished.length ? '' : 'No run has finished yet.');
    this.#drawTable();
    setAttr(this.charts, 'hidden', !finished.length);
    if (!finished.length) return;
    let Plotly;
    try {
      Plotly = await loadPlotly(this.plotly);
    } catch {
      return this.#say('The charts could not be loaded. The table below has all results.');
    }
    if (this.sweep !== sweep || !this.name) return;
    await this.#drawParallel(Plotly, finished);
    await this.#drawMatrix(Plotly);
  }

  // --- parallel coordinates ----------------------------------------------------------------------

  async #drawParallel(Plotly, /** @type {SweepRun[]} */ finished) {
    const { sweep } = this;
    const dimensions = data.dimensions(sweep).filter(
      ({ values }, i, all) =>
        // a dimension with one value says nothing, but some dimension must remain
        values.length > 1 || all.length === 1,
    );
    const indices = dimensions.map((dimension) =>
      data.dimensions(sweep).findIndex(({ field }) => field === dimension.field),
    );
    const shares = finished.map(({ share }) => share);
    const [low, high] = [Math.min(...shares), Math.max(...shares)];
    const relative = (share) => (high > low ? (share - low) / (high - low) : 0.5);
    const [lowColor, highColor, line, muted, surface] = resolveColors(this.parallel, [
      '--map-neg',
      '--newest',
      '--line',
      '--muted',
      '--surface',
    ]);
    const [from, to] = [data.channels(lowColor), data.channels(highColor)];
    this.lines = [...finished].sort((a, b) => a.share - b.share).slice(-MAX_LINES); // best on top
    const heights = indices.map((dimension, i) =>
      data.spreadHeights(
        this.lines.map((run) => data.positionOf(sweep, run, dimension)),
        dimensions[i].values.length,
      ),
    );
    const traces = this.lines.map((run, line) => ({
      type: 'scatter',
      mode: 'lines+markers',
      x: [...indices.keys(), indices.length],
      y: [...heights.map((ofRuns) => ofRuns[line]), relative(run.share)],
      line: {
        color: data.mixed(from, to, relative(run.share)),
        width: 1.2,
        shape: 'spline',
        smoothing: 0.3,
      },
      marker: { size: [...indices.map(() => 1), 9], line: { width: 0 } },
      cliponaxis: false,
      text: `${escape(this.#describe(run))}<br>${pct(run.share, 1)} of ${num(run.n)} ${run.real ? 'real' : 'synthetic'} images`,
      hovertemplate: '%{text}<extra></extra>',
    }));
    const label = (x, y, text, more) => ({
      x,
      y,
      text: escape(text),
      showarrow: false,
      font: { size: 11, color: muted },
      ...more,
    });
    const ticks = (x, values) =>
      values
        .map((value, i) => [value, data.heightOf(i, values.length)])
        .filter(
          (_, i) => values.length <= MAX_TICKS || i % Math.ceil(values.length / MAX_TICKS) === 0,
        )
        .map(([value, y]) =>
          label(x, y, shorten(value), { xanchor: 'right', xshift: -8, bgcolor: surface }),
        );
    const titleLength = Math.floor((this.parallel.clientWidth - 104) / indices.length / 7);
    const result = finished[0].real ? 'accuracy' : 'agreement';
    const names = [...dimensions.map((dimension) => dimension.label), result];
    setAttr(
      this.parallel,
      'aria-label',
      `Parallel coordinates of ${num(this.lines.length)} finished runs: ${names.join(', ')}. The table below has the same numbers.`,
    );
    await Plotly.react(
      this.parallel,
      traces,
      layout(this.parallel, {
        margin: { l: 48, r: 56, t: 36, b: 8 },
        hovermode: 'closest',
        xaxis: { visible: false, range: [-0.15, indices.length + 0.05], fixedrange: true },
        yaxis: { visible: false, range: [-0.08, 1.08], fixedrange: true },
        shapes: names.map((_, x) => ({
          type: 'line',
          layer: 'below',
          x0: x,
          x1: x,
          y0: -0.06,
          y1: 1.06,
          line: { color: line, width: 1 },
        })),
        annotations: [
          ...names.map((name, x) =>
            label(x, 1, shorten(name, titleLength), {
              yanchor: 'bottom',
              yshift: 22,
              xanchor: x === indices.length ? 'right' : x ? 'center' : 'left',
              xshift: x === indices.length ? 40 : x ? 0 : -40,
              font: { size: 12 },
            }),
          ),
          ...dimensions.flatMap(({ values }, x) => ticks(x, values)),
          ...[...new Set([low, high])].map((share) =>
            label(indices.length, relative(share), pct(share, 1), {
              xanchor: 'left',
              xshift: 8,
            }),
          ),
        ],
      }),
      CONFIG,
    );
    this.#onClick(this.parallel, ({ curveNumber }) => this.#open(this.lines[curveNumber]));
  }

  #onClick(chart, action) {
    chart.removeAllListeners('plotly_click');
    chart.on('plotly_click', ({ points }) => points[0] && action(points[0]));
  }

  // --- the matrix --------------------------------------------------------------------------------

  async #drawMatrix(Plotly) {
    const { sweep } = this;
    const all = data.dimensions(sweep);
    const parameters = address.read('runs');
    const [across, down] = data.matrixDimensions(sweep, parameters.across, parameters.down);
    this.shownDimensions = [across, down];
    setAttr(this.matrixFigure, 'hidden', down == null);
    if (down == null) return;
    for (const [select, selected] of /** @type {const} */ ([
      [this.across, across],
      [this.down, down],
    ])) {
      const options = all.map(({ field }) => field);
      if (select.dataset.options !== options.join())
        setChildren(
          select,
          options.map((field) => h('option', { value: field }, field)),
        );
      select.dataset.options = options.join();
      select.value = all[selected].field;
    }
    const cells = data.matrix(sweep, across, down);
    const means = cells.flat().flatMap(({ mean }) => (mean == null ? [] : [mean]));
    const [lowColor, highColor, line, muted] = resolveColors(this.matrix, [
      '--map-0',
      '--map-1',
      '--line',
      '--muted',
    ]);
    const word = data.finishedRuns(sweep)[0].real ? 'accuracy' : 'agreement';
    const spread = (/** @type {SweepCell} */ { mean, deviation }) =>
      mean == null
        ? ''
        : `${percentage(mean)}${deviation == null ? '' : ` ± ${percentage(deviation)}`}`;
    setAttr(
      this.matrix,
      'aria-label',
      `Mean ${word} by ${all[across].label} and ${all[down].label}. The table below has all runs.`,
    );
    const axis = (dimension, title) => ({
      type: 'category',
      title: { text: escape(title), font: { size: 12 }, standoff: 8 },
      tickvals: all[dimension].values.map((_, i) => i),
      ticktext: all[dimension].values.map((value) => escape(shorten(value))),
      tickfont: { color: muted },
      automargin: true,
      fixedrange: true,
      showgrid: false,
      zeroline: false,
      linecolor: line,
    });
    const narrow = this.matrix.clientWidth / all[across].values.length < 76;
    await Plotly.react(
      this.matrix,
      [
        {
          type: 'heatmap',
          x: all[across].values.map((_, i) => i),
          y: all[down].values.map((_, i) => i),
          z: cells.map((row) => row.map(({ mean }) => mean)),
          text: cells.map((row) =>
            row.map((cell) => (narrow && cell.mean != null ? percentage(cell.mean) : spread(cell))),
          ),
          customdata: cells.map((row, y) =>
            row.map(
              (cell, x) =>
                `${escape(all[across].label)} ${escape(all[across].values[x])}, ${escape(all[down].label)} ${escape(all[down].values[y])}<br>` +
                (cell.n
                  ? `mean ${word} ${percentage(cell.mean, 2)}%<br>s.d. ${cell.deviation == null ? '–' : `${percentage(cell.deviation, 2)} points`}<br>n = ${num(cell.n)}`
                  : 'no finished runs'),
            ),
          ),
          texttemplate: '%{text}',
          hovertemplate: '%{customdata}<extra></extra>',
          colorscale: [
            [0, lowColor],
            [1, highColor],
          ],
          zmin: Math.min(...means),
          zmax: Math.max(...means) + 1e-9,
          showscale: false,
          xgap: 2,
          ygap: 2,
        },
      ],
      layout(this.matrix, {
        margin: { l: 8, r: 8, t: 8, b: 8 },
        xaxis: { ...axis(across, all[across].label), type: 'linear' },
        yaxis: { ...axis(down, all[down].label), type: 'linear', autorange: 'reversed' },
      }),
      CONFIG,
    );
    this.#onClick(this.matrix, ({ x, y }) => {
      const runs = this.#runsOf({ x, y });
      if (runs.length === 1) this.#open(runs[0]);
      else this.#selectCell({ x, y });
    });
  }

  #runsOf(/** @type {{ x: number, y: number }} */ { x, y }) {
    const { sweep } = this;
    const [across, down] = this.shownDimensions;
    return sweep.runs.filter(
      (run) => data.positionOf(sweep, run, across) === x && data.positionOf(sweep, run, down) === y,
    );
  }

  #selectCell(cell) {
    this.cell = cell;
    if (!this.sweep) return;
    this.#drawTable();
    if (cell) {
      this.table.scrollIntoView({ block: 'nearest' });
      this.body.querySelector('a')?.focus();
    }
  }

  // --- the table ---------------------------------------------------------------------------------

  #drawTable() {
    const { sweep, cell } = this;
    const all = data.dimensions(sweep);
    setAttr(this.table, 'hidden', false);
    const order = (/** @type {SweepRun} */ run) => (run.state === 'done' ? (run.share ?? -1) : -2);
    const runs = [...(cell ? this.#runsOf(cell) : sweep.runs)].sort((a, b) => order(b) - order(a));
    const [across, down] = this.shownDimensions ?? [];
    setText(
      this.shown,
      cell
        ? `${all[across].label} ${all[across].values[cell.x]}, ${all[down].label} ${all[down].values[cell.y]}`
        : 'best first',
    );
    setAttr(this.all, 'hidden', !cell);
    const focused = this.body.contains(document.activeElement)
      ? document.activeElement.getAttribute('href')
      : null;
    setChildren(
      this.head,
      h(
        'tr',
        null,
        ['result', ...all.map(({ label }) => label), 'state', 'time'].map((text) =>
          h('th', { scope: 'col' }, text),
        ),
      ),
    );
    setChildren(
      this.body,
      runs.map((run) =>
        h(
          'tr',
          { 'data-state': run.state },
          h('td', null, this.#resultLink(run)),
          all.map(({ values }, i) => h('td', null, values[data.positionOf(sweep, run, i)])),
          h('td', { class: 'state' }, sweepStateName(run.state)),
          h('td', null, run.seconds ? time(run.seconds) : '–'),
        ),
      ),
    );
    if (focused)
      [...this.body.querySelectorAll('a')]
        .find((link) => link.getAttribute('href') === focused)
        ?.focus();
  }

  /** The run's result, as a link to the run. */
  #resultLink(/** @type {SweepRun} */ run) {
    const text = run.share == null ? 'Inspect' : pct(run.share, 1) + (run.real ? '' : ' agreement');
    return run.run
      ? h(
          'a',
          {
            class: 'link',
            href: address.link({ tab: 'inspect', run: run.run }),
            onclick: inPage(() => this.#open(run)),
            'aria-label': `${text}: inspect ${this.#describe(run)}`,
          },
          text,
        )
      : '–';
  }

  #describe(/** @type {SweepRun} */ run) {
    const { sweep } = this;
    return data
      .dimensions(sweep)
      .map(({ label, values }, i) => `${label} ${values[data.positionOf(sweep, run, i)]}`)
      .join(', ');
  }

  #open(/** @type {SweepRun | undefined} */ run) {
    if (run?.run) this.inspect({ run: run.run, sel: null });
  }
}
