// Keyboard shortcuts: the table of all shortcuts, the sheet that lists them, and the handlers for
// those that work on every page. Each page handles its own.

import { h, setChildren } from './dom.js';

/**
 * Keys, what they do, and the page on which they work, unless they work everywhere.
 * @type {[string[], string, string?][]}
 */
const KEYS = [
  [['?'], 'Show or hide this sheet'],
  [['1', '…', '9'], 'Jump to a panel, list, or run, in reading order'],
  [
    ['Tab'],
    'Move within that panel, list, or run. Enter activates; arrow keys move through images and options',
  ],
  [
    ['Space'],
    'Pause or continue the run. During a replay or after the run, play or freeze this view',
    'studio',
  ],
  [['←', '→'], 'Back or forward one frame; with Shift, one iteration', 'studio'],
  [['Home', 'End'], 'Go to the start, or go live', 'studio'],
  [['PageUp', 'PageDown'], 'On the timeline: next or previous event', 'studio'],
  [['←', '→'], 'Previous or next image', 'inspect'],
  [['.'], 'Run one step of the selected size', 'studio'],
  [['Esc'], 'Close the open dialog or tip'],
];

/**
 * Checks whether a key belongs to a field, or to the browser because Ctrl, Alt or ⌘ is down.
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

/** The shortcuts that work on every page, and the sheet that lists all shortcuts. */
export class Keys {
  /**
   * @param {HTMLElement} view
   * @param {() => string} page Returns the page being shown.
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
    }); // a click on the backdrop
    document.addEventListener('keydown', (event) => this.#onKeydown(event));
  }

  #onKeydown(event) {
    if (isTyping(event) || event.repeat) return;
    if (event.key === '?') this.#toggle();
    else if (/^[1-9]$/.test(event.key) && !document.querySelector('dialog[open]'))
      this.#focusPanel(Number(event.key) - 1);
  }

  #toggle() {
    if (this.sheet.open) return this.sheet.close();
    const currentPage = this.page();
    const rows = KEYS.filter(([, , page]) => !page || page === currentPage);
    setChildren(
      this.sheet.querySelector('dl'),
      rows.map(([keys, description]) =>
        h(
          'div',
          null,
          h(
            'dt',
            null,
            keys.map((key) => (key === '…' ? ' … ' : h('kbd', null, key))),
          ),
          h('dd', null, description),
        ),
      ),
    );
    this.sheet.showModal();
  }

  /** Focuses a visible panel by its position. A number beyond the last one does nothing. */
  #focusPanel(index) {
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
