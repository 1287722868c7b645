// Switches between the pages of the app: the tabs in the top bar, the address, Back and Forward.

import * as address from './address.js';
import { setAttr, setText } from './dom.js';

/** @import { Changes } from './types.js' */

/**
 * Switches between the pages of the app. A page is a tab in the top bar and the <main> of that
 * name.
 */
export class Pages {
  /**
   * @param {HTMLElement} view
   * @param {(page: string, popped: boolean) => void} turned Called for the first page too;
   *   `popped`: the address came first, through a link or Back.
   */
  constructor(view, turned) {
    this.turned = turned;
    this.heading = view.querySelector('.nav h1');
    /** @type {NodeListOf<HTMLAnchorElement>} */
    this.tabs = view.querySelectorAll('.tabs a');
    /** @type {NodeListOf<HTMLElement>} */
    const parts = view.querySelectorAll('main[data-page]');
    this.parts = Object.fromEntries([...parts].map((part) => [part.dataset.page, part]));
    for (const tab of this.tabs)
      tab.addEventListener('click', (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window
        event.preventDefault();
        this.go(tab.dataset.page);
      });
    addEventListener('popstate', () => this.#turn(true));
    this.#turn(true);
  }

  /**
   * Turns to a page.
   * @param {string} page
   * @param {Changes} [changes] Other parameters of the address that change with it.
   */
  go(page, changes = {}) {
    if (page === this.page && !Object.keys(changes).length) return;
    address.go({ tab: page, ...changes });
    this.#turn();
  }

  #turn(popped = false) {
    const before = this.page;
    const asked = address.page();
    this.page = Object.hasOwn(this.parts, asked) ? asked : 'studio';
    document.body.dataset.page = this.page;
    for (const tab of this.tabs) {
      const shown = tab.dataset.page === this.page;
      setAttr(tab, 'aria-current', shown ? 'page' : null);
      if (shown) setText(this.heading, tab.textContent);
    }
    for (const [name, part] of Object.entries(this.parts))
      setAttr(part, 'hidden', name !== this.page);
    if (before !== this.page) scrollTo(0, 0); // on a phone the pages share one scroll bar
    this.turned(this.page, popped);
  }
}
