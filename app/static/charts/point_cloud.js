// A cloud of points on a canvas, in 2-D or 3-D, independent of runs. cloud_pointer.js handles
// zooming, rotation, hovering and the lasso. Positions are in 0…1. The 3-D projection is
// orthographic, so a ball appears as a disc of exactly its radius.

import { CloudPointer } from './cloud_pointer.js';
import { SpriteRaster } from './sprite_raster.js';

/** @import { Ball, CloudEvents, CloudPoints, Point, Polygon } from '../core/types.js' */

const PADDING = 0.04;
const HIT_RADIUS = 9;
const EASE_MS = 700;
const SCALE_3D = 0.86;
const prefersReducedMotion = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

/** A cloud of points on a canvas. */
export class PointCloud {
  /**
   * @param {HTMLElement & { cloud?: PointCloud }} host
   * @param {CloudEvents} handlers Indices refer to `points`.
   */
  constructor(host, handlers) {
    this.host = host;
    this.handlers = handlers;
    this.dim = 2;
    this.tool = 'zoom';
    this.view = { x: 0.5, y: 0.5, zoom: 1, fill: 1, turn: 0.6, tilt: 0.5 };
    /** @type {CloudPoints} */
    this.points = { n: 0 };
    /** @type {CloudPoints} */
    this.real = { n: 0 };
    /** @type {Ball[]} */
    this.balls = [];
    /** @type {{ x: number, y: number, z?: number } | null} */
    this.mark = null;
    // CSS colors
    this.backgroundColor = '';
    this.textColor = '';
    this.lineColor = '';
    this.frames = 0;
    /** @type {Polygon | null} The shape being drawn with the pointer, in pixels. */
    this.path = null;
    this.raster = new SpriteRaster(5, (...dot) => this.#drawDot(...dot));
    this.canvas = host.appendChild(
      Object.assign(document.createElement('canvas'), { className: 'cloud' }),
    );
    this.ctx = this.canvas.getContext('2d');
    host.cloud = this; // for tests: the positions on the screen
    new CloudPointer(this);
    new ResizeObserver(() => this.requestPaint()).observe(host);
  }

  /**
   * Sets what is drawn.
   * @param {CloudPoints} points
   * @param {object} options
   * @param {CloudPoints} options.real Hollow points.
   * @param {Ball[]} [options.balls]
   * @param {{ x: number, y: number, z?: number } | null} [options.mark] The selected point.
   * @param {boolean} [options.ease] Animate points to their new positions; otherwise they jump.
   * @param {boolean} [options.square] Keep the shape of the cloud.
   * @param {string} [options.fit] When this changes, fit the view to the points.
   */
  set(points, { real, balls = [], mark = null, ease = false, square = false, fit = '' }) {
    if (ease && !prefersReducedMotion() && this.points.n && points.n) {
      const before = new Map(this.points.keys.map((key, i) => [key, i]));
      const now = this.#currentPositions();
      const from = {
        x: Float32Array.from(points.x),
        y: Float32Array.from(points.y),
        z: Float32Array.from(points.z),
      };
      points.keys.forEach((key, i) => {
        const index = before.get(key);
        if (index != null) for (const axis of 'xyz') from[axis][i] = now[axis][index];
      });
      this.ease = { from, since: performance.now() };
    } else if (points.n !== this.points.n || points.keys !== this.points.keys) this.ease = null;
    this.points = points;
    this.real = real;
    this.balls = balls;
    this.mark = mark;
    this.square = square;
    if (fit !== this.fitKey && (points.n || !fit)) {
      this.fitKey = fit;
      this.#fit();
    }
    this.requestPaint();
  }

  /** Resets zoom and rotation. */
  resetView() {
    Object.assign(this.view, { x: 0.5, y: 0.5, zoom: 1, turn: 0.6, tilt: 0.5 });
    this.#fit();
    this.requestPaint();
  }

  /** Enlarges a cloud that does not fill 0…1, ignoring the outermost 2% of the points. */
  #fit() {
    const from = (x, y, z) => Math.max(Math.abs(x - 0.5), Math.abs(y - 0.5), Math.abs(z - 0.5));
    const reach = (/** @type {CloudPoints} */ { n, x, y, z }) =>
      Array.from({ length: n }, (_, i) => from(x[i], y[i], z[i])).sort((a, b) => a - b)[
        Math.floor(0.98 * (n - 1))
      ] ?? 0;
    const extent = Math.max(
      reach(this.points),
      reach(this.real),
      ...this.balls.map(({ x, y, z, radii }) => from(x, y, z) + Math.max(0, ...(radii ?? []))),
    );
    this.view.fill = this.fitKey && extent ? Math.max(1, Math.min(5, 0.46 / extent)) : 1;
  }

  /** Paints in the next animation frame. */
  requestPaint() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.paint();
    });
  }

  /** Current positions during an animation. */
  /** @returns {{ x?: ArrayLike<number>, y?: ArrayLike<number>, z?: ArrayLike<number> }} */
  #currentPositions() {
    const { points, ease } = this;
    if (!ease) return points;
    const t = Math.min(1, (performance.now() - ease.since) / EASE_MS);
    const s = t * t * (3 - 2 * t);
    if (t >= 1) {
      this.ease = null;
      return points;
    }
    return Object.fromEntries(
      ['x', 'y', 'z'].map((axis) => [
        axis,
        Float32Array.from(
          points[axis],
          (v, i) => ease.from[axis][i] + s * (v - ease.from[axis][i]),
        ),
      ]),
    );
  }

  /**
   * Makes the projection for the current view.
   * @returns {(x: number, y: number, z?: number) => [number, number, number]} To pixels right,
   *   pixels down, and depth.
   */
  projection() {
    const { clientWidth: w, clientHeight: h } = this.host;
    const { x, y, turn, tilt } = this.view;
    const zoom = this.view.zoom * this.view.fill;
    const flat = this.dim === 2;
    // the 2-D layout fills the panel; where distances matter (the student's space, 3-D), the cloud
    // keeps its shape
    const square = this.square || !flat;
    const side = Math.min(w, h);
    const kx = (zoom * (square ? side : w)) / (1 + 2 * PADDING);
    const ky = (zoom * (square ? side : h)) / (1 + 2 * PADDING);
    if (flat) return (px, py) => [w / 2 + (px - x) * kx, h / 2 - (py - y) * ky, 0];
    const [ct, st, ci, si] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
    const k = kx * SCALE_3D;
    return (px, py, pz) => {
      // rotated about the vertical axis, then tilted; a tilt of 90° is the 2-D view
      const a = px - 0.5;
      const b = py - 0.5;
      const c = pz - 0.5;
      const right = a * ct - b * st;
      const depth = a * st + b * ct;
      return [w / 2 + right * k, h / 2 - (c * ci + depth * si) * k, depth * ci - c * si];
    };
  }

  /**
   * Computes how many pixels one unit of the layout spans.
   * @returns {number}
   */
  scale() {
    const { clientWidth: w, clientHeight: h } = this.host;
    return (
      ((this.view.zoom * this.view.fill * Math.min(w, h)) / (1 + 2 * PADDING)) *
      (this.dim === 3 ? SCALE_3D : 1)
    );
  }

  /** Paints everything. */
  paint() {
    const { host, canvas, ctx } = this;
    const w = host.clientWidth;
    const h = host.clientHeight;
    const pixelRatio = window.devicePixelRatio || 1;
    if (w < 40 || h < 40) return;
    if (
      canvas.width !== Math.round(w * pixelRatio) ||
      canvas.height !== Math.round(h * pixelRatio)
    ) {
      canvas.width = Math.round(w * pixelRatio);
      canvas.height = Math.round(h * pixelRatio);
    }
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, canvas.width, canvas.height);
    ctx.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
    this.frames += 1;
    const project = this.projection();
    const now = this.#currentPositions();
    const { points, real, raster } = this;
    if (this.dim === 3) this.#drawBox(project);
    for (const ball of this.balls) this.#drawBall(ball, project);
    const screenPoints = (this.screenPoints = {
      x: new Float32Array(points.n),
      y: new Float32Array(points.n),
    });
    const depth = new Float32Array(points.n);
    for (let i = 0; i < points.n; i += 1)
      [screenPoints.x[i], screenPoints.y[i], depth[i]] = project(now.x[i], now.y[i], now.z[i]);
    this.screenReal = Array.from({ length: real.n }, (_, i) =>
      project(real.x[i], real.y[i], real.z[i]),
    );
    raster.start(w, h, pixelRatio);
    for (let i = 0; i < real.n; i += 1)
      raster.stamp(
        this.screenReal[i][0],
        this.screenReal[i][1],
        1,
        real.colors[i],
        real.dimmed?.[i] ? 0.12 : 0.8,
      );
    const order =
      this.dim === 3
        ? Uint32Array.from({ length: points.n }, (_, i) => i).sort((a, b) => depth[b] - depth[a])
        : null;
    for (let k = 0; k < points.n; k += 1) {
      const i = order ? order[k] : k;
      raster.stamp(
        screenPoints.x[i],
        screenPoints.y[i],
        0,
        points.colors[i],
        points.dimmed?.[i] ? 0.1 : points.faded?.[i] ? 0.3 : 1,
      );
    }
    raster.finish(ctx);
    if (this.mark) {
      const [x, y] = project(this.mark.x, this.mark.y, this.mark.z ?? 0.5);
      ctx.strokeStyle = this.textColor;
      ctx.lineWidth = 2;
      ctx.beginPath();
      ctx.arc(x, y, 8, 0, 7);
      ctx.stroke();
    }
    this.handlers.afterPaint(ctx, project);
    if (this.path) {
      ctx.strokeStyle = this.textColor;
      ctx.lineWidth = 1;
      ctx.setLineDash([4, 3]);
      ctx.beginPath();
      this.path.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
      ctx.closePath();
      ctx.stroke();
      ctx.setLineDash([]);
    }
    if (this.ease) this.requestPaint();
  }

  #drawDot(ctx, hollow, color) {
    ctx.beginPath();
    ctx.arc(0, 0, hollow ? 2.75 : 4, 0, 7);
    if (hollow) {
      ctx.strokeStyle = color;
      ctx.lineWidth = 1.5;
    } else {
      ctx.fillStyle = color;
      ctx.fill();
      ctx.strokeStyle = this.backgroundColor;
      ctx.lineWidth = 0.75;
    }
    ctx.stroke();
  }

  #drawBall(/** @type {Ball} */ { x, y, z, radii, color, dimmed }, project) {
    const { ctx } = this;
    const [cx, cy] = project(x, y, z);
    const scale = this.scale();
    ctx.strokeStyle = ctx.fillStyle = color;
    ctx.globalAlpha = dimmed ? 0.15 : 0.9;
    radii?.forEach((r, i) => {
      ctx.setLineDash(i ? [3, 3] : []);
      ctx.lineWidth = 1;
      ctx.beginPath();
      ctx.arc(cx, cy, r * scale, 0, 7);
      ctx.stroke();
      if (!i) {
        ctx.globalAlpha *= 0.12;
        ctx.fill();
        ctx.globalAlpha = dimmed ? 0.15 : 0.9;
      }
    });
    ctx.setLineDash([]);
    ctx.fillRect(cx - 3, cy - 3, 6, 6);
    ctx.globalAlpha = 1;
  }

  #drawBox(project) {
    const { ctx } = this;
    const half = 0.5 / this.view.fill;
    const corner = (i) => project(...[0, 1, 2].map((bit) => 0.5 + ((i >> bit) & 1 ? half : -half)));
    ctx.strokeStyle = this.lineColor;
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (let i = 0; i < 8; i += 1)
      for (const bit of [1, 2, 4])
        if (!(i & bit)) {
          const [a, b] = corner(i);
          const [c, d] = corner(i | bit);
          ctx.moveTo(a, b);
          ctx.lineTo(c, d);
        }
    ctx.stroke();
  }

  /**
   * Finds the point nearest to a position, within a few pixels.
   * @param {number[]} place
   * @returns {number | null} Its index.
   */
  nearest([x, y]) {
    let best = null;
    let least = HIT_RADIUS * HIT_RADIUS;
    for (let i = 0; i < (this.screenPoints?.x.length ?? 0); i += 1) {
      const d = (this.screenPoints.x[i] - x) ** 2 + (this.screenPoints.y[i] - y) ** 2;
      if (d <= least && !this.points.dimmed?.[i]) {
        least = d;
        best = i;
      }
    }
    return best;
  }
}
