// What a pointer does in a cloud of points: zoom, rotate, hover, select one point or several.

import * as lasso from './lasso.js';

/** @import { Point, Polygon } from '../core/types.js' */
/** @import { PointCloud } from './point_cloud.js' */

const LEAST = 4; // pixels that make a drag

/** The pointer in a cloud of points. */
export class CloudPointer {
  /** @param {PointCloud} cloud */
  constructor(cloud) {
    const { host } = cloud;
    this.cloud = cloud;
    host.addEventListener('pointerdown', (e) => this.#press(e));
    host.addEventListener('pointermove', (e) => this.#hover(e));
    host.addEventListener('pointerleave', () => cloud.on.over(null));
    host.addEventListener('dblclick', () => cloud.whole());
    host.addEventListener(
      'wheel',
      (e) => {
        if (e.ctrlKey || matchMedia('(min-width: 1180px)').matches) {
          e.preventDefault();
          this.#zoom(Math.exp(-e.deltaY / 400), e);
        }
      },
      { passive: false },
    );
  }

  /** @returns {Point} */
  #place(e) {
    const box = this.cloud.host.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  }

  #hover(e) {
    if (!this.held) {
      const at = this.#place(e);
      this.cloud.on.over(this.cloud.nearest(at), ...at);
    }
  }

  #press(e) {
    if (e.button || this.held || e.target.closest('button, select')) return;
    const start = this.#place(e);
    const touch = e.pointerType === 'touch';
    const turning = this.cloud.dim === 3 && this.cloud.tool === 'zoom';
    const from = { ...this.cloud.view };
    const around = [start];
    if (touch && this.cloud.tool === 'zoom' && !turning) {
      this.#tap(start);
      return;
    } // a finger scrolls the page
    this.held = true;
    this.cloud.host.setPointerCapture(e.pointerId);
    const move = (m) => {
      const now = this.#place(m);
      const dx = now[0] - start[0];
      const dy = now[1] - start[1];
      if (Math.hypot(dx, dy) < LEAST && !this.cloud.path && !this.turned) return;
      this.cloud.on.over(null);
      if (turning) {
        this.turned = true;
        this.cloud.view.turn = from.turn - dx / 160;
        this.cloud.view.tilt = Math.max(-1.5, Math.min(1.5, from.tilt + dy / 160));
      } else if (this.cloud.tool === 'lasso') {
        around.push(now);
        this.cloud.path = around;
      } else this.cloud.path = [start, [now[0], start[1]], now, [start[0], now[1]]];
      this.cloud.again();
    };
    const drop = (m) => {
      for (const [name, act] of /** @type {const} */ ([
        ['pointermove', move],
        ['pointerup', drop],
        ['pointercancel', drop],
      ]))
        this.cloud.host.removeEventListener(name, act);
      const { turned } = this;
      const { path } = this.cloud;
      this.held = false;
      this.cloud.path = null;
      this.turned = false;
      if (m.type === 'pointerup') {
        if (path && this.cloud.tool === 'zoom') this.#zoomTo(path[0], path[2]);
        else if (path) this.#pick(path);
        else if (!turned) {
          const i = this.cloud.nearest(start);
          if (i != null) this.cloud.on.click(i);
        }
      }
      this.cloud.again();
    };
    for (const [name, act] of /** @type {const} */ ([
      ['pointermove', move],
      ['pointerup', drop],
      ['pointercancel', drop],
    ]))
      this.cloud.host.addEventListener(name, act);
  }

  #tap(start) {
    this.cloud.host.addEventListener(
      'pointerup',
      () => {
        const i = this.cloud.nearest(start);
        if (i != null) this.cloud.on.click(i);
      },
      { once: true },
    );
  }

  /**
   * A 2-D lasso is in layout coordinates, which an address can hold; a 3-D lasso only applies to
   * this screen.
   */
  #pick(/** @type {Polygon} */ path) {
    const { at, points } = this.cloud;
    const polygon =
      this.cloud.dim === 2 ? lasso.simple(path.map((place) => this.#unproject(place))) : null;
    const text = polygon && lasso.write(polygon);
    const found = text
      ? lasso.within(lasso.read(text), points.x, points.y)
      : lasso.within(path, at.x, at.y);
    this.cloud.on.picked(
      found.filter((i) => !points.faint?.[i]),
      text,
    );
  }

  /** @returns {Point} */
  #unproject(/** @type {Point} */ [px, py]) {
    // 2-D only
    const [ox, oy] = this.cloud.projection()(0, 0);
    const [ux, uy] = this.cloud.projection()(1, 1);
    return [(px - ox) / (ux - ox), (py - oy) / (uy - oy)];
  }

  #zoomTo(a, b) {
    const { clientWidth: w, clientHeight: h } = this.cloud.host;
    const dx = Math.abs(a[0] - b[0]);
    const dy = Math.abs(a[1] - b[1]);
    if (Math.max(dx, dy) < 8) return;
    const [x, y] = this.#unproject([(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
    Object.assign(this.cloud.view, {
      x,
      y,
      zoom: Math.min(60, this.cloud.view.zoom * Math.min(w / Math.max(8, dx), h / Math.max(8, dy))),
    });
  }

  #zoom(by, e) {
    const { view } = this.cloud;
    const zoom = Math.max(0.5, Math.min(60, view.zoom * by));
    if (this.cloud.dim === 2) {
      const [x, y] = this.#unproject(this.#place(e));
      const share = 1 - view.zoom / zoom;
      view.x += (x - view.x) * share;
      view.y += (y - view.y) * share;
    }
    view.zoom = zoom;
    this.cloud.again();
  }
}
