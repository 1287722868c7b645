// A link of another run than the one that the Studio shows. The only person here, with no run
// going, is shown that run at once; else it is said once, with ways to see it. The link's image and
// moment go along.

import { h, put } from '../core/dom.js';
import { href, ofStudio, selection } from '../core/address.js';

/** @import { Address, Changes, Snapshot } from '../core/types.js' */

/** The notice that a link is of another run. */
export class ForeignRunNotice {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {(changes: Changes) => void} hooks.inspect Turns to the Inspect page.
   * @param {(address: string) => Promise<any>} hooks.post
   * @param {(run: string) => Promise<boolean>} hooks.known Is the run in the folder?
   * @param {() => Promise<boolean>} hooks.alone Is nobody else looking?
   * @param {() => void} hooks.shown Called when the Studio shows the run of the link.
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
   * Tells whether the Studio's address is of another run than this one, and deals with it.
   * @param {Snapshot} snap
   * @param {boolean} active The shown run is going.
   * @returns {boolean}
   */
  meets(snap, active) {
    const at = ofStudio();
    const asked = at.run;
    if (!asked || asked === snap.run) return false;
    this.asked = asked;
    this.at = at;
    this.#lead(asked, snap.run, active);
    return true;
  }

  /**
   * Returns what the link says of the run, once, when that run is shown.
   * @param {Snapshot} snap
   * @returns {Address | null}
   */
  came(snap) {
    if (!this.asked || snap.run !== this.asked) return null;
    this.root.hidden = true;
    if (!snap.counters.iterations) return null; // it is being read
    this.asked = null;
    return this.at;
  }

  /** Hides the notice: another run is shown now, or another link was followed. */
  hide() {
    this.root.hidden = true;
    this.asked = null;
  }

  async #lead(asked, shown, active) {
    const words = `This link is of the run ${asked.slice(0, 120)}; the Studio shows ${shown ?? 'none'}.`;
    const there = await this.known(asked);
    if (!there)
      return this.#say(
        asked,
        `${words} There is no run of that name here; it may have been renamed or deleted.`,
        [],
      );
    if (active)
      return this.#say(asked, `${words} A run is going, so another one cannot be shown here now.`, [
        'look',
      ]);
    const wrong = (await this.alone()) ? await this.#open(asked) : '';
    if (wrong != null) this.#say(asked, `${words} ${wrong}`, ['look', 'show']);
  }

  /** What went wrong, in words; null if nothing. */
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
    if (asked !== this.asked) return; // meanwhile shown, or another one
    const at = { run: asked, sel: selection(this.at.sel) };
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
      'Inspect it',
    );
    const show = h(
      'button',
      {
        type: 'button',
        class: 'btn small',
        'data-for': 'presenter',
        'data-tip': 'For everyone who has this page open',
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
