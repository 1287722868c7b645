// A card for each compared run, with buttons to remove and add runs.

import { MAX_RUNS } from '../core/address.js';
import { badge, h, setChildren } from '../core/dom.js';
import { openRerunDialog } from '../runs/rerun_dialog.js';
import { stateName } from '../runs/run_row.js';
import { openRunPicker } from './run_picker.js';

/** @import { Comparison, PanelState } from '../core/types.js' */

/** The cards of the compared runs. */
export class RunCards {
  /**
   * @param {Element} root
   * @param {object} hooks
   * @param {string} hooks.base
   * @param {(names: string[]) => void} hooks.choose Compares those runs instead.
   */
  constructor(root, { base, choose }) {
    this.root = root;
    this.base = base;
    this.choose = choose;
  }

  /**
   * Draws the cards if they have changed.
   * @param {PanelState<Comparison, null, null>} state
   */
  draw({ snapshot: { runs } }) {
    const key = JSON.stringify(
      runs.map(({ name, title, state, note, picture, fault }) => [
        name,
        title,
        state,
        note,
        state !== 'going' && picture,
        fault,
      ]),
    );
    if (key === this.key) return;
    this.key = key;
    const names = runs.map((run) => run.name);
    const focusedKey = /** @type {HTMLElement} */ (document.activeElement)?.dataset?.at;
    setChildren(
      this.root,
      runs.map((run, i) =>
        h(
          'div',
          { class: 'c-run', 'data-run': run.name },
          badge(i),
          h(
            'div',
            { class: 'what' },
            h('h2', null, run.name),
            h(
              'p',
              { class: 'muted' },
              [run.title, stateName(run.state)].filter(Boolean).join(' · '),
            ),
            run.note && h('p', { class: 'said' }, run.note),
            run.fault && h('p', { class: 'error-message', role: 'alert' }, run.fault),
            run.key &&
              h(
                'button',
                {
                  type: 'button',
                  class: 'link',
                  'data-for': 'presenter',
                  'data-at': `flip ${run.name}`,
                  'aria-haspopup': 'dialog',
                  'data-tip':
                    'Rerun this with one switch flipped and everything else the same, including seed and budget.',
                  onclick: () =>
                    openRerunDialog(this.base, run.name, (newRun) =>
                      this.choose([run.name, newRun]),
                    ),
                },
                'Flip one switch…',
              ),
          ),
          run.picture &&
            run.state !== 'going' &&
            h('img', {
              alt: '',
              src: `${this.base}/kg/picture/${encodeURIComponent(run.name)}/${run.picture}`,
            }),
          h(
            'button',
            {
              type: 'button',
              class: 'link drop',
              'data-at': `drop ${run.name}`,
              'aria-label': `Remove ${run.name}`,
              'data-tip': 'Remove from comparison',
              onclick: () => this.choose(names.filter((name) => name !== run.name)),
            },
            '×',
          ),
        ),
      ),
      h(
        'button',
        {
          type: 'button',
          class: 'btn',
          'data-at': 'choose',
          'aria-haspopup': 'dialog',
          onclick: () => openRunPicker(this.base, names, MAX_RUNS, this.choose),
        },
        runs.length ? 'Choose runs…' : 'Choose two or more runs…',
      ),
    );
    if (focusedKey)
      (
        [.../** @type {NodeListOf<HTMLElement>} */ (this.root.querySelectorAll('[data-at]'))].find(
          (node) => node.dataset.at === focusedKey,
        ) ?? /** @type {HTMLElement} */ (this.root.lastChild)
      ).focus(); // the button of a removed run is gone
  }
}
