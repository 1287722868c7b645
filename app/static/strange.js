// A link of another run than the one that the Studio shows. The only person here, with no run going, is shown that run at once; else it is
// said once, with ways to see it. The link's image and moment go along.

import { h, put } from './dom.js';
import { href, read, selection } from './address.js';

export class Strange {
  /** `post(address)` asks the server; `alone()`: is nobody else looking; `shown()` is called when it shows the run of the link. */
  constructor(view, { inspect, post, alone, shown }) {
    Object.assign(this, { inspect, post, alone, shown, root: view.querySelector('.strange'), at: read() });
    const [asked] = new URLSearchParams(location.search).getAll('run');
    this.asked = view.querySelector('main[data-page=studio]').hidden || !asked ? null : asked;
  }

  /** Is the address of another run than this one? Asked with the first snapshot. */
  meets(snap, active) {
    const { asked } = this;
    this.asked = null;
    if (!asked || asked === snap.run) return false;
    this.#lead(asked, snap.run, active);
    return true;
  }

  /** Once, when the run of the link is shown: the image and moment of the link. */
  came(run) {
    if (!this.opening || run !== this.opening) return null;
    this.opening = null;
    return this.at;
  }

  async #lead(asked, shown, active) {
    if (!active && await this.alone()) {
      const wrong = await this.#open(asked);
      if (wrong) this.#say(asked, wrong);
    } else this.#say(asked, `This link is of the run ${asked.slice(0, 120)}; the Studio shows ${shown ?? 'none'}.`);
  }

  /** What went wrong, in words. */
  async #open(asked) {
    this.opening = asked;
    try { await this.post(`runs/${encodeURIComponent(asked)}/open`); } catch (error) { this.opening = null; return error.message; }
    this.root.hidden = true;
    this.shown();
    return null;
  }

  #say(asked, words) {
    const at = { run: asked, sel: selection(this.at.sel) }, close = () => { this.root.hidden = true; }, text = h('span', null, words);
    const look = h('a', { class: 'link', href: href({ tab: 'inspect', ...at }), onclick: (event) => { event.preventDefault(); close(); this.inspect(at); } }, 'Inspect it');
    const show = h('button', { type: 'button', class: 'btn small', 'data-for': 'presenter', 'data-tip': 'For everyone who has this page open', onclick: async () => { text.textContent = await this.#open(asked) ?? words; } }, 'Show it here');
    put(this.root, text, look, show, h('button', { type: 'button', class: 'link', onclick: close }, 'Close'));
    this.root.hidden = false;
  }
}
