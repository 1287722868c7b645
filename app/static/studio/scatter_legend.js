// The legend of the scatter plot.

import { h, num, put } from '../core/dom.js';

/** @import { Point } from '../core/types.js' */

/** The legend. */
export class Legend {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
  }

  /**
   * Draws what is there, if it has changed.
   * @param {string} by What colors the points.
   * @param {Point} ends The values that have the first and the last shade.
   * @param {boolean} real
   * @param {boolean} anchors
   */
  draw(by, [low, high], real, anchors) {
    const key = [by, low, high, real, anchors].join();
    if (this.key === key) return;
    this.key = key;
    const text = (v) => (by === 'age' ? num(v + 1) : Math.abs(v) < 10 ? v.toFixed(2) : num(v));
    const dot = (...props) => h('i', { class: ['dot', ...props].join(' ') });
    put(
      this.root,
      by === 'newest'
        ? [h('span', null, dot('old'), 'earlier'), h('span', null, dot('fresh'), 'newest batch')]
        : by === 'class'
          ? h('span', null, dot(), 'synthetic')
          : h(
              'span',
              null,
              by === 'age' ? 'iteration ' : '',
              text(low),
              h('i', { class: 'shade' }),
              text(high),
            ),
      real && h('span', null, dot('hollow'), 'real, for comparison only'),
      anchors &&
        h('span', null, h('i', { class: 'anchor' }), 'anchor f_y, r_i (solid), r_o (dashed)'),
    );
  }
}
