// The legend of the scatter plot.

import { h, num, setChildren } from '../core/dom.js';

/** @import { Point } from '../core/types.js' */

/** The legend. */
export class Legend {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
  }

  /**
   * Draws the legend if it has changed.
   * @param {string} colorBy What colors the points.
   * @param {Point} ends The values that have the first and the last shade.
   * @param {boolean} hasReal
   * @param {boolean} hasAnchors
   */
  draw(colorBy, [low, high], hasReal, hasAnchors) {
    const key = [colorBy, low, high, hasReal, hasAnchors].join();
    if (this.key === key) return;
    this.key = key;
    const text = (v) => (colorBy === 'age' ? num(v + 1) : Math.abs(v) < 10 ? v.toFixed(2) : num(v));
    const dot = (...props) => h('i', { class: ['dot', ...props].join(' ') });
    setChildren(
      this.root,
      colorBy === 'newest'
        ? [h('span', null, dot('old'), 'earlier'), h('span', null, dot('fresh'), 'newest batch')]
        : colorBy === 'class'
          ? h('span', null, dot(), 'synthetic')
          : h(
              'span',
              null,
              colorBy === 'age' ? 'iteration ' : '',
              text(low),
              h('i', { class: 'shade' }),
              text(high),
            ),
      hasReal && h('span', null, dot('hollow'), 'real, for comparison only'),
      hasAnchors &&
        h('span', null, h('i', { class: 'anchor' }), 'anchor f_y, r_i (solid), r_o (dashed)'),
    );
  }
}
