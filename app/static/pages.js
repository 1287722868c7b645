// Which page of the app is shown: the tabs of the top bar, the address, Back and Forward.

import { go } from './address.js';
import { setAttr, setText } from './dom.js';

const NAMES = { studio: 'Studio', runs: 'Runs' };

export class Pages {
  /** `turned(page)` is called for the first page too. */
  constructor(view, turned) {
    Object.assign(this, { turned, heading: view.querySelector('.nav h1'), tabs: [...view.querySelectorAll('.tabs a')],
      parts: { studio: view.querySelector('main.view'), runs: view.querySelector('main.runs') } });
    for (const tab of this.tabs) tab.addEventListener('click', (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a window of its own
      event.preventDefault();
      this.go(tab.dataset.page);
    });
    addEventListener('popstate', () => this.#turn());
    this.#turn();
  }

  go(page) {
    if (page === this.page) return;
    go({ tab: page === 'studio' ? null : page });
    this.#turn();
  }

  #turn() {
    const asked = new URLSearchParams(location.search).get('tab'); // Gradio keeps the word page for itself
    this.page = Object.hasOwn(NAMES, asked ?? '') ? asked : 'studio';
    document.body.dataset.page = this.page;
    setText(this.heading, NAMES[this.page]);
    for (const tab of this.tabs) setAttr(tab, 'aria-current', tab.dataset.page === this.page ? 'page' : null);
    for (const [name, part] of Object.entries(this.parts)) setAttr(part, 'hidden', name !== this.page);
    scrollTo(0, 0); // on a phone the pages share one scroll bar
    this.turned(this.page);
  }
}
