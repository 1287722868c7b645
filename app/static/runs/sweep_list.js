// The list of sweeps above the list of runs. It is only refreshed while it is shown.

import * as address from '../core/address.js';
import { h, num, setAttr, setChildren } from '../core/dom.js';
import { requestJson } from '../core/server.js';

/** @import { Changes, SweepRow } from '../core/types.js' */

const PERIOD_MS = 5000;
const STATE_NAMES = {
  running: 'running',
  interrupted: 'interrupted',
  waiting: 'not started',
  stopped: 'stopped early',
  failed: 'failed',
};

/**
 * Says how many runs are finished, and what the others are doing.
 * @param {number} runs
 * @param {Record<string, number>} states
 * @returns {string}
 */
export const describeStates = (runs, states) =>
  [
    `${num(states.done ?? 0)} of ${num(runs)} runs finished`,
    ...Object.entries(STATE_NAMES)
      .filter(([state]) => states[state])
      .map(([state, text]) => `${num(states[state])} ${text}`),
  ].join(', ');

/**
 * Names the state of a run of a sweep.
 * @param {string} state
 * @returns {string}
 */
export const sweepStateName = (state) => STATE_NAMES[state] ?? 'finished';

/**
 * Handles a click on a link in the page itself, unless it is meant for a new tab or window.
 * @param {() => void} action
 * @returns {(event: MouseEvent) => void}
 */
export const inPage = (action) => (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  action();
};

/** The list of sweeps. */
export class SweepList {
  /**
   * @param {HTMLElement} root
   * @param {object} hooks
   * @param {string} hooks.base
   * @param {(changes: Changes) => void} hooks.go Changes what the page shows.
   */
  constructor(root, { base, go }) {
    this.base = base;
    this.go = go;
    /** @type {HTMLElement} */
    this.list = root.querySelector('.sweep-list');
    this.key = '';
    document.addEventListener('visibilitychange', () => this.setVisible(this.visible));
  }

  /**
   * Enters or leaves the page.
   * @param {boolean} visible
   */
  setVisible(visible) {
    this.visible = visible;
    clearTimeout(this.timer);
    if (visible && document.visibilityState === 'visible') this.#refresh();
  }

  async #refresh() {
    try {
      this.#draw((await requestJson(`${this.base}/kg/sweeps`)).sweeps);
    } catch {
      // the status line says that the server is not responding
    }
    clearTimeout(this.timer);
    if (this.visible) this.timer = setTimeout(() => this.setVisible(this.visible), PERIOD_MS);
  }

  #draw(/** @type {SweepRow[]} */ sweeps) {
    const key = JSON.stringify(sweeps);
    if (key === this.key) return;
    this.key = key;
    const focused = this.list.contains(document.activeElement)
      ? document.activeElement.getAttribute('href')
      : null;
    setAttr(this.list, 'hidden', !sweeps.length);
    setChildren(
      this.list,
      sweeps.map(({ name, recipe, fields, runs, states }) =>
        h(
          'li',
          null,
          h(
            'a',
            {
              class: 'link',
              href: address.link({ tab: 'runs', sweep: name }),
              onclick: inPage(() => this.go({ sweep: name })),
            },
            name,
          ),
          h('span', null, `Sweep of ${recipe} over ${fields.join(', ') || 'the seed'}`),
          h('span', { class: 'muted' }, describeStates(runs, states)),
        ),
      ),
    );
    if (focused)
      [...this.list.querySelectorAll('a')]
        .find((link) => link.getAttribute('href') === focused)
        ?.focus();
  }
}
