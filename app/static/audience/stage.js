// Presenting to an audience. The presenter's page sends its address to the server; viewers' pages
// follow it until their user navigates elsewhere, and again on request.

import { follow, shared } from '../core/address.js';
import { InviteDialog } from './invite_dialog.js';
import { h, put, setAttr, setText } from '../core/dom.js';

// for this many milliseconds after a click or key, an address change counts as the user's
const RECENT = 1000;
const KEPT = 'kgen-follow';

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** The presenter leads, the audience follows. */
export class Stage {
  /**
   * @param {HTMLElement} view
   * @param {{ base: string, watching?: boolean }} page
   */
  constructor(view, { base, watching = false }) {
    this.base = base;
    /** @type {HTMLElement} */
    this.nav = view.querySelector('.nav-end');
    /** @type {Record<string, string>} */
    this.headers = {};
    /** @type {Presenter | Audience | null} */
    this.part = null;
    if (watching) {
      const audience = new Audience(this.nav);
      this.part = audience;
      this.headers['X-KGen-Page'] = audience.page;
    }
    /** Resolves to whether there is no audience, so that nobody else's page would change. */
    this.alone = new Promise((known) => {
      this.known = known;
    });
    this.#ask(watching);
  }

  /**
   * Takes the headers of a poll's response.
   * @param {Headers} headers
   */
  hear(headers) {
    this.part?.hear(headers);
  }

  async #ask(watching) {
    let me;
    try {
      me = await (await fetch(`${this.base}/kg/me`, { cache: 'no-store' })).json();
    } catch {
      return void setTimeout(() => this.#ask(watching), 2000);
    }
    this.known(!me.audience);
    if (!me.audience) return;
    // a link on another site opened the page without the cookie, or the token is outdated
    if ((me.role === 'viewer') !== watching) return this.#other();
    if (watching) return;
    document.body.dataset.role = 'presenter';
    this.part = new Presenter(this.nav, this.base, me.links);
  }

  /** The server has a different page for our role; reloads once, not forever. */
  #other() {
    if (Date.now() - Number(sessionStorage.getItem('kgen-turned') ?? 0) < 10_000) return;
    sessionStorage.setItem('kgen-turned', String(Date.now()));
    location.replace(location.href);
  }
}

/** The presenter's side: tells the server what this page shows. */
class Presenter {
  /**
   * @param {HTMLElement} nav
   * @param {string} base
   * @param {string[]} links
   */
  constructor(nav, base, links) {
    this.base = base;
    this.told = '';
    /** @type {InviteDialog | null} */
    this.dialog = null;
    this.count = h('span', {
      class: 'watchers muted',
      role: 'status',
      'data-tip': 'Viewers with this page open and visible.',
    });
    this.invite = h(
      'button',
      {
        type: 'button',
        class: 'btn invite',
        'aria-label': 'Invite',
        'aria-haspopup': 'dialog',
        onclick: () => {
          this.dialog ??= new InviteDialog(base, links);
          this.dialog.open();
        },
      },
      'Invite',
    );
    nav.prepend(this.count, this.invite);
    document.addEventListener('kg-address', () => this.#soon());
    addEventListener('popstate', () => this.#soon());
    this.#soon();
  }

  /**
   * Shows the number of viewers.
   * @param {Headers} headers
   */
  hear(headers) {
    const n = +headers.get('X-KGen-Viewers');
    setText(this.count, n === 1 ? '1 viewer' : `${n} viewers`);
  }

  #soon(wait = 100) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#tell(), wait);
  }

  async #tell() {
    const text = JSON.stringify(shared());
    if (text === this.told) return;
    this.told = text;
    const kept = await fetch(`${this.base}/kg/shown`, {
      method: 'POST',
      body: text,
      headers: { 'Content-Type': 'application/json' },
    }).then(
      (answer) => answer.status < 500,
      () => false,
    );
    if (!kept) {
      this.told = '';
      this.#soon(2000);
    }
  }
}

/** A viewer's side: follows the presenter until its user goes elsewhere. */
class Audience {
  /** @param {HTMLElement} nav */
  constructor(nav) {
    this.page = [...crypto.getRandomValues(new Uint8Array(6))]
      .map((byte) => byte.toString(16).padStart(2, '0'))
      .join('');
    const kept = sessionStorage.getItem(KEPT);
    // a link to a specific view shows that view
    this.on = kept ? kept === 'on' : !Object.keys(shared()).length;
    this.touched = -RECENT;
    this.text = h('span', { class: 'muted', role: 'status' });
    this.button = h('button', {
      type: 'button',
      class: 'btn small',
      onclick: () => this.#turn(!this.on),
    });
    nav.prepend(
      h(
        'div',
        { class: 'following', role: 'group', 'aria-label': 'Following the presenter' },
        this.text,
        this.button,
      ),
    );
    for (const kind of ['pointerdown', 'keydown', 'change'])
      document.addEventListener(
        kind,
        (event) => {
          if (event.isTrusted) this.touched = performance.now();
        },
        true,
      );
    document.addEventListener('kg-address', (event) => {
      if (!(/** @type {CustomEvent} */ (event).detail.own)) this.#moved();
    });
    addEventListener('popstate', () => this.#moved());
    this.#draw();
  }

  /**
   * Follows the presenter to a new view.
   * @param {Headers} headers
   */
  hear(headers) {
    const shown = headers.get('X-KGen-Shown');
    if (!shown || shown === this.shown) return;
    this.shown = shown;
    if (this.on) this.#go();
  }

  /** What the presenter shows; null before the first update. */
  #wanted() {
    return this.shown ? shared(this.shown.slice(this.shown.indexOf(';') + 1)) : null;
  }

  /** Goes to what the presenter shows, as Back and Forward would. */
  #go() {
    const wanted = this.#wanted();
    if (!wanted || same(wanted, shared())) return;
    this.going = true;
    follow(wanted);
    dispatchEvent(new PopStateEvent('popstate', { state: history.state }));
    this.going = false;
  }

  #moved() {
    const wanted = this.#wanted();
    if (
      this.on &&
      !this.going &&
      wanted &&
      performance.now() - this.touched < RECENT &&
      !same(wanted, shared())
    )
      this.#turn(false);
  }

  #turn(on) {
    this.on = on;
    sessionStorage.setItem(KEPT, on ? 'on' : 'off');
    this.#draw();
    if (on) this.#go();
  }

  #draw() {
    setText(this.text, this.on ? 'Viewer · following the presenter' : 'Viewer · on your own');
    put(this.button, this.on ? 'Stop following' : 'Follow again');
    this.button.dataset.on = String(this.on);
    setAttr(
      this.button,
      'data-tip',
      this.on
        ? 'This page follows the presenter until you select something yourself.'
        : 'Go to what the presenter shows now, and keep following.',
    );
  }
}
