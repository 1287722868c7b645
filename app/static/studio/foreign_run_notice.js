// Handles links to a run that the Studio is not showing. If nobody else is watching and no run is
// in progress, the Studio switches to it immediately. Otherwise, a notice offers ways to see it.
// The link's image and moment carry over.

import { h, setChildren } from '../core/dom.js';
import { href, read } from '../core/address.js';

/** @import { Address, Changes, Snapshot } from '../core/types.js' */

/** The notice that a link points to another run. */
export class ForeignRunNotice {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {(changes: Changes) => void} hooks.inspect Goes to the Inspect page.
   * @param {(address: string) => Promise<any>} hooks.post
   * @param {(run: string) => Promise<boolean>} hooks.runExists Is the run in the folder?
   * @param {() => Promise<boolean>} hooks.isAlone Is nobody else watching?
   * @param {() => void} hooks.onShown Called when the Studio shows the linked run.
   */
  constructor(view, { inspect, post, runExists, isAlone, onShown }) {
    this.inspect = inspect;
    this.post = post;
    this.runExists = runExists;
    this.isAlone = isAlone;
    this.onShown = onShown;
    /** @type {HTMLElement} */
    this.root = view.querySelector('.foreign-run');
  }

  /**
   * Checks whether the Studio's address points to another run, and handles that case.
   * @param {Snapshot} snap
   * @param {boolean} isActive The shown run is in progress.
   * @returns {boolean}
   */
  check(snap, isActive) {
    const linkAddress = read('studio');
    const requestedRun = linkAddress.run;
    if (!requestedRun || requestedRun === snap.run) return false;
    this.requestedRun = requestedRun;
    this.linkAddress = linkAddress;
    this.#resolve(requestedRun, snap.run, isActive);
    return true;
  }

  /**
   * Returns the link's parameters, once, when its run is shown.
   * @param {Snapshot} snap
   * @returns {Address | null}
   */
  takeLinkedState(snap) {
    if (!this.requestedRun || snap.run !== this.requestedRun) return null;
    this.root.hidden = true;
    if (!snap.counters.iterations) return null; // still loading
    this.requestedRun = null;
    return this.linkAddress;
  }

  /** Hides the notice: another run is shown now, or another link was followed. */
  hide() {
    this.root.hidden = true;
    this.requestedRun = null;
  }

  async #resolve(requestedRun, currentRun, isActive) {
    const message = `This link points to run ${requestedRun.slice(0, 120)}, but the Studio ${currentRun ? `is showing ${currentRun}` : 'has no run open'}.`;
    const exists = await this.runExists(requestedRun);
    if (!exists)
      return this.#showNotice(
        requestedRun,
        `${message} There is no run with that name here. It may have been renamed or deleted.`,
        [],
      );
    if (isActive)
      return this.#showNotice(
        requestedRun,
        `${message} The Studio can’t switch while a run is in progress.`,
        ['look'],
      );
    const errorMessage = (await this.isAlone()) ? await this.#open(requestedRun) : '';
    if (errorMessage != null)
      this.#showNotice(requestedRun, `${message} ${errorMessage}`, ['look', 'show']);
  }

  /** Returns an error message, or null on success. */
  async #open(requestedRun) {
    try {
      await this.post(`runs/${encodeURIComponent(requestedRun)}/open`);
    } catch (error) {
      return error.message;
    }
    this.root.hidden = true;
    this.onShown();
    return null;
  }

  #showNotice(requestedRun, message, actions) {
    // the run has been shown in the meantime, or another one was requested
    if (requestedRun !== this.requestedRun) return;
    const changes = { run: requestedRun, sel: this.linkAddress.sel };
    const close = () => this.hide();
    const text = h('span', null, message);
    const inspectLink = h(
      'a',
      {
        class: 'link',
        href: href({ tab: 'inspect', ...changes }),
        onclick: (event) => {
          event.preventDefault();
          close();
          this.inspect(changes);
        },
      },
      'Inspect that run',
    );
    const showButton = h(
      'button',
      {
        type: 'button',
        class: 'btn small',
        'data-for': 'presenter',
        'data-tip': 'Switches the run for everyone viewing this page',
        onclick: async () => {
          text.textContent = (await this.#open(requestedRun)) ?? message;
        },
      },
      'Show it here',
    );
    setChildren(
      this.root,
      text,
      actions.includes('look') && inspectLink,
      actions.includes('show') && showButton,
      h('button', { type: 'button', class: 'link', onclick: close }, 'Close'),
    );
    this.root.hidden = false;
  }
}
