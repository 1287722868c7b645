// Handles a link to a run other than the one the Studio shows. If nobody else is watching and no
// run is in progress, the Studio switches to it at once; otherwise a notice offers ways to see it.
// The link's image and moment carry over.

import { h, put } from '../core/dom.js';
import { href, read } from '../core/address.js';

/** @import { Address, Changes, Snapshot } from '../core/types.js' */

/** The notice that a link points to another run. */
export class ForeignRunNotice {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {(changes: Changes) => void} hooks.inspect Turns to the Inspect page.
   * @param {(address: string) => Promise<any>} hooks.post
   * @param {(run: string) => Promise<boolean>} hooks.known Is the run in the folder?
   * @param {() => Promise<boolean>} hooks.alone Is nobody else watching?
   * @param {() => void} hooks.shown Called when the Studio shows the linked run.
   */
  constructor(view, { inspect, post, known, alone, shown }) {
    this.inspect = inspect;
    this.post = post;
    this.known = known;
    this.alone = alone;
    this.shown = shown;
    /** @type {HTMLElement} */
    this.root = view.querySelector('.strange');
  }

  /**
   * Checks whether the Studio's address points to another run, and deals with it if so.
   * @param {Snapshot} snap
   * @param {boolean} active The shown run is in progress.
   * @returns {boolean}
   */
  meets(snap, active) {
    const at = read('studio');
    const asked = at.run;
    if (!asked || asked === snap.run) return false;
    this.asked = asked;
    this.at = at;
    this.#lead(asked, snap.run, active);
    return true;
  }

  /**
   * Returns what the link says about the run, once, when that run is shown.
   * @param {Snapshot} snap
   * @returns {Address | null}
   */
  came(snap) {
    if (!this.asked || snap.run !== this.asked) return null;
    this.root.hidden = true;
    if (!snap.counters.iterations) return null; // still loading
    this.asked = null;
    return this.at;
  }

  /** Hides the notice: another run is shown now, or another link was followed. */
  hide() {
    this.root.hidden = true;
    this.asked = null;
  }

  async #lead(asked, shown, active) {
    const words = `This link points to run ${asked.slice(0, 120)}, but the Studio ${shown ? `is showing ${shown}` : 'has no run open'}.`;
    const there = await this.known(asked);
    if (!there)
      return this.#say(
        asked,
        `${words} There is no run with that name here. It may have been renamed or deleted.`,
        [],
      );
    if (active)
      return this.#say(asked, `${words} The Studio can’t switch while a run is in progress.`, [
        'look',
      ]);
    const wrong = (await this.alone()) ? await this.#open(asked) : '';
    if (wrong != null) this.#say(asked, `${words} ${wrong}`, ['look', 'show']);
  }

  /** Returns an error message, or null on success. */
  async #open(asked) {
    try {
      await this.post(`runs/${encodeURIComponent(asked)}/open`);
    } catch (error) {
      return error.message;
    }
    this.root.hidden = true;
    this.shown();
    return null;
  }

  #say(asked, words, ways) {
    if (asked !== this.asked) return; // it was shown in the meantime, or another run was requested
    const at = { run: asked, sel: this.at.sel };
    const close = () => this.hide();
    const text = h('span', null, words);
    const look = h(
      'a',
      {
        class: 'link',
        href: href({ tab: 'inspect', ...at }),
        onclick: (event) => {
          event.preventDefault();
          close();
          this.inspect(at);
        },
      },
      'Inspect that run',
    );
    const show = h(
      'button',
      {
        type: 'button',
        class: 'btn small',
        'data-for': 'presenter',
        'data-tip': 'Switches the run for everyone viewing this page',
        onclick: async () => {
          text.textContent = (await this.#open(asked)) ?? words;
        },
      },
      'Show it here',
    );
    put(
      this.root,
      text,
      ways.includes('look') && look,
      ways.includes('show') && show,
      h('button', { type: 'button', class: 'link', onclick: close }, 'Close'),
    );
    this.root.hidden = false;
  }
}
