// The teacher's view: every image as a point, alike images close together. Synthetic filled, real hollow.
// Zoom survives updates (uirevision); the drawing is redone only when points, colours, selection or size change.

import { colours, num, setAttr, setText } from './dom.js';
import { place } from './labels.js';
import { CONFIG, layout, plotly } from './plotly.js';

const RANGE = [-0.04, 1.04];

export class Scatter {
  constructor(view, { plotly: script, select, colour }) {
    Object.assign(this, { script, select, colour, by: 'class', only: null, key: '' });
    this.panel = view.querySelector('.p-space');
    this.host = this.panel.querySelector('.scatter');
    this.note = this.panel.querySelector('.note');
    this.real = this.panel.querySelector('.key .hollow').parentElement;
    this.panel.addEventListener('change', (e) => { if (e.target.name === 'kg-by') { this.by = e.target.value; this.redraw(); } });
    new ResizeObserver(() => this.redraw()).observe(this.host);
    new MutationObserver(() => this.redraw()).observe(document.body, { attributeFilter: ['class'] });
  }

  redraw() { this.key = ''; if (this.last) this.draw(...this.last); }

  /** Dim every class but `c`; null shows all. */
  isolate(c) { if (this.only !== c) { this.only = c; this.redraw(); } }

  /** `points`: {iteration, pos, c, x, y} as arrays; `mark`: {x, y} of the chosen image, or null. */
  draw(snap, points, reference, mark) {
    this.last = [snap, points, reference, mark];
    const n = points.x.length, some = n > 0 && snap.budget.used_images > n;
    setAttr(this.real, 'hidden', snap.tested_on === 'synthetic');
    setText(this.note, snap.layout === 'fitting' ? 'places are being found …' : snap.tested_on === 'synthetic' && snap.layout === 'none' && snap.making ? 'drawn when 60 images are made' : some ? `newest ${num(n)} of ${num(snap.budget.used_images)} synthetic ones` : '');
    const size = [this.host.clientWidth, this.host.clientHeight];
    const key = JSON.stringify([snap.run, snap.attempt, n, points.iteration[0], points.iteration[n - 1], points.pos[n - 1], points.x[0], reference?.x?.length, mark, this.by, this.only, size, snap.classes.length]);
    if (key === this.key || size[0] < 80 || size[1] < 80) return;
    this.key = key;
    this.#plot(snap, points, reference, mark, size);
  }

  async #plot(snap, points, reference, mark, [width, height]) {
    let Plotly;
    try { Plotly = await plotly(this.script); } catch { this.key = ''; return; }
    const names = snap.classes.map((_, c) => `--c${this.colour(c)}`);
    const [surface, ink, old, fresh, ...palette] = colours(this.host, ['--surface', '--ink', '--pool', '--newest', ...names]);
    const faint = (c) => this.only == null || this.only === c ? 1 : 0.12, newest = Math.max(-1, ...points.iteration);
    const real = reference?.x ? reference : { x: [], y: [], c: [] }, syn = points.c.map((c, i) => this.by === 'class' ? palette[c] : points.iteration[i] === newest ? fresh : old);
    const traces = [
      { name: 'real', x: real.x, y: real.y, text: real.c.map((c) => escape(`real ${snap.classes[c]}`)), hoverinfo: 'text',
        marker: { symbol: 'circle-open', size: 6, line: { width: 1.5 }, color: this.by === 'class' ? real.c.map((c) => palette[c]) : palette.map(() => old)[0], opacity: real.c.map((c) => (this.by === 'class' ? 0.8 : 0.35) * faint(c)) } },
      { name: 'synthetic', x: points.x, y: points.y, customdata: points.iteration.map((it, i) => [it, points.pos[i]]), hoverinfo: 'text',
        text: points.c.map((c, i) => escape(`${snap.classes[c]}, iteration ${points.iteration[i] + 1}`)),
        marker: { symbol: 'circle', size: 8, color: syn, line: { width: 0.75, color: surface }, opacity: points.c.map(faint) } },
      { name: 'chosen', x: mark ? [mark.x] : [], y: mark ? [mark.y] : [], hoverinfo: 'skip', marker: { symbol: 'circle-open', size: 16, color: ink, line: { width: 2 } } },
    ].map((trace) => ({ type: 'scatter', mode: 'markers', cliponaxis: false, ...trace }));
    const span = RANGE[1] - RANGE[0], px = (x) => (x - RANGE[0]) / span * width, py = (y) => (RANGE[1] - y) / span * height;
    const base = real.x.length ? real : points;
    const spots = snap.classes.length > 20 ? [] : place(snap.classes, Array.from(base.c, (c, i) => ({ c, x: px(base.x[i]), y: py(base.y[i]) })), width, height);
    await Plotly.react(this.host, traces, layout(this.host, {
      xaxis: { visible: false, range: [...RANGE] }, yaxis: { visible: false, range: [...RANGE] }, hovermode: 'closest', dragmode: matchMedia('(max-width: 760px)').matches ? false : 'zoom',
      annotations: spots.map((spot) => ({ text: escape(spot.text), x: spot.x / width * span + RANGE[0], y: RANGE[1] - spot.y / height * span, showarrow: false, yanchor: 'middle',
        font: { color: ink, size: 11 }, borderpad: 0, opacity: faint(spot.c) })) }), CONFIG);
    if (!this.bound) {
      this.bound = true;
      this.host.on('plotly_click', ({ points: [point] }) => point?.customdata && this.select({ it: point.customdata[0], pos: point.customdata[1] }));
    }
  }
}

/** Plotly reads a few tags in text; class names are text. */
function escape(text) { return text.replace(/[&<>]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[c]); }
