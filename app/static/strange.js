// A link of another run than the one that the Studio shows: said once, with ways to see that run.

import { h, put } from './dom.js';
import { href } from './address.js';

export class Strange {
  /** `post(address)` asks the server; `shown()` is called when it shows the run of the link. */
  constructor(view, { inspect, post, shown }) {
    Object.assign(this, { inspect, post, shown, root: view.querySelector('.strange') });
    const [asked] = new URLSearchParams(location.search).getAll('run');
    this.asked = view.querySelector('main[data-page=studio]').hidden || !asked ? null : asked;
  }

  /** Is the address of another run than this one? Asked with the first snapshot. */
  meets(snap) {
    const { asked } = this;
    this.asked = null;
    if (!asked || asked === snap.run) return false;
    const text = h('span', null, `This link is of the run ${asked.slice(0, 120)}; the Studio shows ${snap.run ?? 'none'}.`), close = () => { this.root.hidden = true; };
    const look = h('a', { class: 'link', href: href({ tab: 'inspect', run: asked }), onclick: (event) => { event.preventDefault(); close(); this.inspect({ run: asked, sel: null }); } }, 'Inspect it');
    const show = h('button', { type: 'button', class: 'btn small', 'data-for': 'presenter', 'data-tip': 'For everyone who has this page open', onclick: async () => {
      try { await this.post(`runs/${encodeURIComponent(asked)}/open`); close(); this.shown(); } catch (error) { text.textContent = error.message; }
    } }, 'Show it here');
    put(this.root, text, look, show, h('button', { type: 'button', class: 'link', onclick: close }, 'Close'));
    this.root.hidden = false;
    return true;
  }
}
