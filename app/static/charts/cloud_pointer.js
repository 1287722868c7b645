// Pointer interactions in a cloud of points: zoom, rotate, hover, and select one or several points.

import * as lasso from './lasso.js';

/** @import { Point, Polygon } from '../core/types.js' */
/** @import { PointCloud } from './point_cloud.js' */

const MIN_DRAG = 4; // pixels; anything shorter is a click

/** The pointer in a cloud of points. */
export class CloudPointer {
  /** @param {PointCloud} cloud */
  constructor(cloud) {
    const { host } = cloud;
    this.cloud = cloud;
    host.addEventListener('pointerdown', (e) => this.#onPointerDown(e));
    host.addEventListener('pointermove', (e) => this.#onPointerMove(e));
    host.addEventListener('pointerleave', () => cloud.handlers.onHover(null));
    host.addEventListener('dblclick', () => cloud.resetView());
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
  #position(e) {
    const box = this.cloud.host.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  }

  #onPointerMove(e) {
    if (!this.dragging) {
      const position = this.#position(e);
      this.cloud.handlers.onHover(this.cloud.nearest(position), ...position);
    }
  }

  #onPointerDown(e) {
    if (e.button || this.dragging || e.target.closest('button, select')) return;
    const start = this.#position(e);
    const touch = e.pointerType === 'touch';
    const rotating = this.cloud.dim === 3 && this.cloud.tool === 'zoom';
    const from = { ...this.cloud.view };
    const shape = [start];
    if (touch && this.cloud.tool === 'zoom' && !rotating) {
      this.#tap(start);
      return;
    } // a finger scrolls the page
    this.dragging = true;
    this.cloud.host.setPointerCapture(e.pointerId);
    const onMove = (m) => {
      const now = this.#position(m);
      const dx = now[0] - start[0];
      const dy = now[1] - start[1];
      if (Math.hypot(dx, dy) < MIN_DRAG && !this.cloud.path && !this.rotated) return;
      this.cloud.handlers.onHover(null);
      if (rotating) {
        this.rotated = true;
        this.cloud.view.turn = from.turn - dx / 160;
        this.cloud.view.tilt = Math.max(-1.5, Math.min(1.5, from.tilt + dy / 160));
      } else if (this.cloud.tool === 'lasso') {
        shape.push(now);
        this.cloud.path = shape;
      } else this.cloud.path = [start, [now[0], start[1]], now, [start[0], now[1]]];
      this.cloud.requestPaint();
    };
    const onUp = (m) => {
      for (const [name, listener] of /** @type {const} */ ([
        ['pointermove', onMove],
        ['pointerup', onUp],
        ['pointercancel', onUp],
      ]))
        this.cloud.host.removeEventListener(name, listener);
      const { rotated } = this;
      const { path } = this.cloud;
      this.dragging = false;
      this.cloud.path = null;
      this.rotated = false;
      if (m.type === 'pointerup') {
        if (path && this.cloud.tool === 'zoom') this.#zoomTo(path[0], path[2]);
        else if (path) this.#select(path);
        else if (!rotated) {
          const i = this.cloud.nearest(start);
          if (i != null) this.cloud.handlers.onClick(i);
        }
      }
      this.cloud.requestPaint();
    };
    for (const [name, listener] of /** @type {const} */ ([
      ['pointermove', onMove],
      ['pointerup', onUp],
      ['pointercancel', onUp],
    ]))
      this.cloud.host.addEventListener(name, listener);
  }

  #tap(start) {
    this.cloud.host.addEventListener(
      'pointerup',
      () => {
        const i = this.cloud.nearest(start);
        if (i != null) this.cloud.handlers.onClick(i);
      },
      { once: true },
    );
  }

  /**
   * A 2-D lasso is stored in the address, in layout coordinates. A 3-D lasso only applies to this
   * screen.
   */
  #select(/** @type {Polygon} */ path) {
    const { screenPoints, points } = this.cloud;
    const polygon =
      this.cloud.dim === 2 ? lasso.simplify(path.map((point) => this.#unproject(point))) : null;
    const text = polygon && lasso.write(polygon);
    const inside = text
      ? lasso.pointsInside(lasso.read(text), points.x, points.y)
      : lasso.pointsInside(path, screenPoints.x, screenPoints.y);
    this.cloud.handlers.onSelect(
      inside.filter((i) => !points.dimmed?.[i]),
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
      const [x, y] = this.#unproject(this.#position(e));
      const fraction = 1 - view.zoom / zoom;
      view.x += (x - view.x) * fraction;
      view.y += (y - view.y) * fraction;
    }
    view.zoom = zoom;
    this.cloud.requestPaint();
  }
}
