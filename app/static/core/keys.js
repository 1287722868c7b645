// What keys do, as one table: the sheet that lists them, and those that work on every page. Others
// belong to their pages.

import { h, put } from './dom.js';

/**
 * Keys, what they do, and the page where they do it, if not everywhere.
 * @type {[string[], string, string?][]}
 */
const KEYS = [
  [['?'], 'Show or close this sheet'],
  [['1', '…', '9'], 'Go to a part of the page, in reading order: a panel, the list, a run'],
  [['Tab'], 'Go on within it; Enter presses, arrows move through images and choices'],
  [
    ['Space'],
    'Pause or continue the run; while an earlier moment is shown, or when it has ended, play or hold this view',
    'studio',
  ],
  [['←', '→'], 'A frame back or on; with Shift an iteration', 'studio'],
  [['Home', 'End'], 'To the start; to live', 'studio'],
  [['PageUp', 'PageDown'], 'On the time line: to the event after, before', 'studio'],
  [['←', '→'], 'The image before or after', 'inspect'],
  [['.'], 'One step, of the kind chosen beside Step', 'studio'],
  [['Esc'], 'Close what is open'],
];

/**
 * Tells whether a key belongs to a field, or to the browser because Ctrl, Alt or ⌘ is down.
 * @param {KeyboardEvent} event
 * @returns {boolean}
 */
export const isTyping = (event) =>
  event.ctrlKey ||
  event.metaKey ||
  event.altKey ||
  Boolean(
    /** @type {HTMLElement} */ (event.target).closest?.(
      'input:not([type=radio], [type=checkbox], [type=range]), textarea, select, [contenteditable]',
    ),
  );

/** The keys that work on every page, and the sheet that lists all. */
export class Keys {
  /**
   * @param {HTMLElement} view
   * @param {() => string} page Names the page that is shown.
   */
  constructor(view, page) {
    this.view = view;
    this.page = page;
    /** @type {HTMLDialogElement} */
    this.sheet = view.querySelector('.help');
    view.querySelector('.nav .keys').addEventListener('click', () => this.#toggle());
    this.sheet.querySelector('.close').addEventListener('click', () => this.sheet.close());
    this.sheet.addEventListener('click', (event) => {
      if (event.target === this.sheet) this.sheet.close();
    }); // beside it
    document.addEventListener('keydown', (event) => this.#press(event));
  }

  #press(event) {
    if (isTyping(event) || event.repeat) return;
    if (event.key === '?') this.#toggle();
    else if (/^[1-9]$/.test(event.key) && !document.querySelector('dialog[open]'))
      this.#enter(Number(event.key) - 1);
  }

  #toggle() {
    if (this.sheet.open) return this.sheet.close();
    const here = this.page();
    const rows = KEYS.filter(([, , page]) => !page || page === here);
    put(
      this.sheet.querySelector('dl'),
      rows.map(([keys, does]) =>
        h(
          'div',
          null,
          h(
            'dt',
            null,
            keys.map((key) => (key === '…' ? ' … ' : h('kbd', null, key))),
          ),
          h('dd', null, does),
        ),
      ),
    );
    this.sheet.showModal();
  }

  /** Panels that are shown, in their order; a press on one beyond the last does nothing. */
  #enter(index) {
    const panels = [
      .../** @type {NodeListOf<HTMLElement>} */ (
        this.view.querySelectorAll(
          `main[data-page=${this.page()}] :is(.panel, .lesson-list, .lesson, .run-list > li)`,
        )
      ),
    ].filter((panel) => panel.offsetParent);
    const panel = panels[index];
    if (!panel) return;
    panel.tabIndex = -1;
    panel.focus({ preventScroll: true });
    panel.scrollIntoView({ block: 'nearest' });
  }
}
