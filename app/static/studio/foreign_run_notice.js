// A link of another run than the one that the Studio shows. The only person here, with no run
// going, is shown that run at once; else it is said once, with ways to see it. The link's image and
// moment go along.

import { h, put } from '../core/dom.js';
import { href, ofStudio, selection } from '../core/address.js';

export class Strange {
  /**
   * `post(address)` asks the server; `known(run)`: is it in the folder; `alone()`: is nobody else
   * looking; `shown()` is called when it shows the run of the link.
   */
  constructor(view, { inspect, post, known, alone, shown }) {
    Object.assign(this, {
      inspect,
      post,
      known,
      alone,
      shown,
      root: view.querySelector('.strange'),
    });
  }

  /** Is the Studio's address of another run than this one? `active`: it is going. */
  meets(snap, active) {
    const at = ofStudio();
    const asked = at.run;
    if (!asked || asked === snap.run) return false;
    Object.assign(this, { asked, at });
    this.#lead(asked, snap.run, active);
    return true;
  }

  /** What the link says of that run, once, when it is shown; null for any other. */
  came(snap) {
    if (!this.asked || snap.run !== this.asked) return null;
    this.root.hidden = true;
    if (!snap.counters.iterations) return null; // it is being read
    this.asked = null;
    return this.at;
  }

  /** Another run is shown now, or another link followed. */
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
