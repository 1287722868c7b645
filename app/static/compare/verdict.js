// Says whether the selected runs are comparable and what differs, or what to do until that is
// known.

import { h, setChildren, setAttr, setText } from '../core/dom.js';

/** @import { Comparison, PanelState } from '../core/types.js' */

/** The verdict on the compared runs. */
export class Verdict {
  /** @param {Element} page */
  constructor(page) {
    /** @type {HTMLElement} */
    this.root = page.querySelector('.c-verdict');
    /** @type {HTMLElement} */
    this.none = page.querySelector('.none');
  }

  /**
   * Draws the sentences if they have changed.
   * @param {PanelState<Comparison, null, null>} state
   */
  draw({ snapshot: { response, runs } }) {
    const { verdict, spread } = response ?? {};
    const hasUnreadable = runs.some((run) => run.fault && !run.key);
    setAttr(this.root, 'hidden', !verdict);
    setAttr(this.none, 'hidden', Boolean(verdict) || (!response && runs.length > 0));
    setText(
      this.none,
      runs.some((run) => run.state === 'just starting')
        ? 'One of these runs is just starting.'
        : hasUnreadable
          ? 'One of these runs could not be read. Remove it, or choose another.'
          : runs.length
            ? 'Choose another run to compare with.'
            : 'Compare runs side by side: images, curves, and recipes, at equal budget, time, or step.',
    );
    if (!verdict) return;
    setText(this.root.querySelector('h2'), verdict.head);
    setAttr(this.root, 'data-comparable', String(verdict.comparable));
    const lines = [...verdict.lines, ...spread.map((text) => ({ text }))];
    const list = this.root.querySelector('ul');
    const key = JSON.stringify(lines);
    if (this.key === key) return;
    this.key = key;
    setChildren(
      list,
      lines.map(({ same, text }) =>
        h(
          'li',
          { class: same == null ? 'spread' : same ? 'same' : 'differs' },
          h('i', { 'aria-hidden': 'true' }, same == null ? '±' : same ? '=' : '≠'),
          h('span', null, text),
        ),
      ),
    );
  }
}
