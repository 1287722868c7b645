// Presenting to an audience. The presenter's page sends its address to the server. A viewer's page
// follows it until the viewer navigates elsewhere, and again on request.

import { follow, shared } from '../core/address.js';
import { InviteDialog } from './invite_dialog.js';
import { h, setChildren, setAttr, setText } from '../core/dom.js';

// an address change this soon after a click or key press counts as the viewer's
const RECENT_MS = 1000;
const STORAGE_KEY = 'kgen-follow';

const isEqual = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Connects this page to the presentation, as the presenter or as a viewer. */
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
    this.participant = null;
    if (watching) {
      const audience = new Audience(this.nav);
      this.participant = audience;
      this.headers['X-KGen-Page'] = audience.pageId;
    }
    /** Resolves to true if there is no audience whose pages would change. */
    this.isAlone = new Promise((resolveAlone) => {
      this.resolveAlone = resolveAlone;
    });
    this.#identify(watching);
  }

  /**
   * Handles the headers of a poll's response.
   * @param {Headers} headers
   */
  onHeaders(headers) {
    this.participant?.onHeaders(headers);
  }

  async #identify(watching) {
    let identity;
    try {
      identity = await (await fetch(`${this.base}/kg/me`, { cache: 'no-store' })).json();
    } catch {
      return void setTimeout(() => this.#identify(watching), 2000);
    }
    this.resolveAlone(!identity.audience);
    if (!identity.audience) return;
    // a link on another site opened the page without the cookie, or the token is outdated
    if ((identity.role === 'viewer') !== watching) return this.#reloadOnce();
    if (watching) return;
    document.body.dataset.role = 'presenter';
    this.participant = new Presenter(this.nav, this.base, identity.links);
  }

  /** Reloads the page to get the one for this role, at most once in ten seconds. */
  #reloadOnce() {
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
    this.lastSent = '';
    /** @type {InviteDialog | null} */
    this.dialog = null;
    this.viewerCount = h('span', {
      class: 'watchers muted',
      role: 'status',
      'data-tip': 'Viewers with this page open and visible.',
    });
    this.inviteButton = h(
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
    nav.prepend(this.viewerCount, this.inviteButton);
    document.addEventListener('kg-address', () => this.#sendSoon());
    addEventListener('popstate', () => this.#sendSoon());
    this.#sendSoon();
  }

  /**
   * Shows the number of viewers.
   * @param {Headers} headers
   */
  onHeaders(headers) {
    const n = +headers.get('X-KGen-Viewers');
    setText(this.viewerCount, n === 1 ? '1 viewer' : `${n} viewers`);
  }

  #sendSoon(wait = 100) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#send(), wait);
  }

  async #send() {
    const body = JSON.stringify(shared());
    if (body === this.lastSent) return;
    this.lastSent = body;
    const accepted = await fetch(`${this.base}/kg/shown`, {
      method: 'POST',
      body,
      headers: { 'Content-Type': 'application/json' },
    }).then(
      (response) => response.status < 500,
      () => false,
    );
    if (!accepted) {
      this.lastSent = '';
      this.#sendSoon(2000);
    }
  }
}

/** A viewer's side: follows the presenter until the viewer goes elsewhere. */
class Audience {
  /** @param {HTMLElement} nav */
  constructor(nav) {
    this.pageId = [...crypto.getRandomValues(new Uint8Array(6))]
      .map((byte) => byte.toString(16).padStart(2, '0'))
      .join('');
    const stored = sessionStorage.getItem(STORAGE_KEY);
    // a link to a specific view opens that view
    this.following = stored ? stored === 'on' : !Object.keys(shared()).length;
    this.lastInputAt = -RECENT_MS;
    this.status = h('span', { class: 'muted', role: 'status' });
    this.button = h('button', {
      type: 'button',
      class: 'btn small',
      onclick: () => this.#setFollowing(!this.following),
    });
    nav.prepend(
      h(
        'div',
        { class: 'following', role: 'group', 'aria-label': 'Following the presenter' },
        this.status,
        this.button,
      ),
    );
    for (const kind of ['pointerdown', 'keydown', 'change'])
      document.addEventListener(
        kind,
        (event) => {
          if (event.isTrusted) this.lastInputAt = performance.now();
        },
        true,
      );
    document.addEventListener('kg-address', (event) => {
      if (!(/** @type {CustomEvent} */ (event).detail.automatic)) this.#onNavigate();
    });
    addEventListener('popstate', () => this.#onNavigate());
    this.#draw();
  }

  /**
   * Follows the presenter to a new view.
   * @param {Headers} headers
   */
  onHeaders(headers) {
    const latest = headers.get('X-KGen-Shown');
    if (!latest || latest === this.latest) return;
    this.latest = latest;
    if (this.following) this.#goToPresenter();
  }

  /** Returns what the presenter shows, or null before the first update. */
  #presenterView() {
    return this.latest ? shared(this.latest.slice(this.latest.indexOf(';') + 1)) : null;
  }

  /** Goes to what the presenter shows, as Back and Forward would. */
  #goToPresenter() {
    const presenterView = this.#presenterView();
    if (!presenterView || isEqual(presenterView, shared())) return;
    this.isNavigating = true;
    follow(presenterView);
    dispatchEvent(new PopStateEvent('popstate', { state: history.state }));
    this.isNavigating = false;
  }

  #onNavigate() {
    const presenterView = this.#presenterView();
    if (
      this.following &&
      !this.isNavigating &&
      presenterView &&
      performance.now() - this.lastInputAt < RECENT_MS &&
      !isEqual(presenterView, shared())
    )
      this.#setFollowing(false);
  }

  #setFollowing(following) {
    this.following = following;
    sessionStorage.setItem(STORAGE_KEY, following ? 'on' : 'off');
    this.#draw();
    if (following) this.#goToPresenter();
  }

  #draw() {
    setText(
      this.status,
      this.following ? 'Viewer · following the presenter' : 'Viewer · on your own',
    );
    setChildren(this.button, this.following ? 'Stop following' : 'Follow again');
    this.button.dataset.on = String(this.following);
    setAttr(
      this.button,
      'data-tip',
      this.following
        ? 'This page follows the presenter until you select something yourself.'
        : 'Go to what the presenter is showing now, and keep following.',
    );
  }
}
