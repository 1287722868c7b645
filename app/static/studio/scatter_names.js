// Class names in the scatter plot: beside their points in 2-D, at their center in 3-D.

import { placeLabels } from '../charts/labels.js';

/** @import { CloudPoints, Projection } from '../core/types.js' */
/** @import { PointCloud } from '../charts/point_cloud.js' */

/** The class names. */
export class ClassNames {
  /**
   * @param {HTMLElement} host
   * @param {PointCloud} cloud
   */
  constructor(host, cloud) {
    this.host = host;
    this.cloud = cloud;
  }

  /**
   * Draws the names.
   * @param {CanvasRenderingContext2D} ctx
   * @param {Projection} project
   * @param {object} of
   * @param {CloudPoints} of.points The points that they name.
   * @param {string[]} of.classes
   * @param {string} of.space Whose view.
   * @param {number | null} of.highlightedClass The class that is not dimmed.
   * @param {string} of.textColor
   */
  draw(ctx, project, { points, classes, space, highlightedClass, textColor }) {
    if (classes.length > 20) return;
    const { host, cloud } = this;
    const { dim } = cloud;
    const { clientWidth: w, clientHeight: height } = host;
    const n = points.x.length;
    const step = Math.max(1, Math.ceil(n / 600));
    const key = [
      dim,
      JSON.stringify(cloud.view),
      w,
      height,
      n,
      points.x[0],
      points.x[n - 1],
      space,
    ].join();
    if (this.key !== key) {
      this.key = key;
      const spots = [];
      for (let i = 0; i < n; i += step) {
        const [x, y] = project(points.x[i], points.y[i], points.z[i]);
        spots.push({ c: points.c[i], x, y });
      }
      this.spots =
        dim === 2
          ? placeLabels(classes, spots, w, height)
          : classes
              .map((text, c) => {
                const classSpots = spots.filter((s) => s.c === c);
                const mean = (axis) =>
                  classSpots.reduce((sum, s) => sum + s[axis], 0) / classSpots.length;
                return classSpots.length ? { text, c, x: mean('x'), y: mean('y') - 12 } : null;
              })
              .filter(Boolean);
    }
    ctx.font = `11px ${getComputedStyle(host).fontFamily}`;
    ctx.textAlign = 'center';
    ctx.textBaseline = 'middle';
    ctx.lineJoin = 'round';
    ctx.lineWidth = 3;
    const placed = [];
    for (const { text, c, x, y } of this.spots) {
      if (
        dim === 3 &&
        highlightedClass !== c &&
        placed.some(
          (s) => Math.abs(s.y - y) < 13 && Math.abs(s.x - x) < 3.2 * (s.text.length + text.length),
        )
      )
        continue; // in 3-D names may overlap: the first one stays
      placed.push({ text, x, y });
      ctx.globalAlpha = highlightedClass == null || highlightedClass === c ? 1 : 0.15;
      ctx.strokeStyle = cloud.backgroundColor;
      ctx.strokeText(text, x, y - 4);
      ctx.fillStyle = textColor;
      ctx.fillText(text, x, y - 4);
    }
    ctx.globalAlpha = 1;
  }
}
