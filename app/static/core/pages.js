// Switches between the pages of the app: the tabs in the top bar, the address, Back and Forward.

import * as address from './address.js';
import { setAttr, setText } from './dom.js';

/** @import { Changes } from './types.js' */

/**
 * Switches between the pages of the app. Each page has a tab in the top bar and a <main>.
 */
export class Pages {
  /**
   * @param {HTMLElement} view
   * @param {(page: string, popped: boolean) => void} onChange Called for the first page too;
   *   `popped`: Back or Forward changed the address.
   */
  constructor(view, onChange) {
    this.onChange = onChange;
    this.heading = view.querySelector('.nav h1');
    /** @type {NodeListOf<HTMLAnchorElement>} */
    this.tabs = view.querySelectorAll('.tabs a');
    /** @type {NodeListOf<HTMLElement>} */
    const mains = view.querySelectorAll('main[data-page]');
    this.mains = Object.fromEntries([...mains].map((main) => [main.dataset.page, main]));
    for (const tab of this.tabs)
      tab.addEventListener('click', (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window
        event.preventDefault();
        this.go(tab.dataset.page);
      });
    addEventListener('popstate', () => this.#update(true));
    this.#update(true);
  }

  /**
   * Goes to a page.
   * @param {string} page
   * @param {Changes} [changes] Other address parameters to change at the same time.
   */
  go(page, changes = {}) {
    if (page === this.page && !Object.keys(changes).length) return;
    address.go({ tab: page, ...changes });
    this.#update();
  }

  #update(popped = false) {
    const previous = this.page;
    const requested = address.page();
    this.page = Object.hasOwn(this.mains, requested) ? requested : 'studio';
    document.body.dataset.page = this.page;
    for (const tab of this.tabs) {
      const isCurrent = tab.dataset.page === this.page;
      setAttr(tab, 'aria-current', isCurrent ? 'page' : null);
      if (isCurrent) setText(this.heading, tab.textContent);
    }
    for (const [name, main] of Object.entries(this.mains))
      setAttr(main, 'hidden', name !== this.page);
    if (previous !== this.page) scrollTo(0, 0); // on a phone the pages share one scroll bar
    this.onChange(this.page, popped);
  }
}
