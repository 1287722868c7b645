// The Lessons page: the list, and the lesson or glossary named in the address. The reader's
// predictions stay in this browser.

import * as address from '../core/address.js';
import * as prose from '../core/prose.js';
import { GlossaryView } from './glossary_view.js';
import { LessonView } from './lesson.js';
import { h, setChildren, setAttr } from '../core/dom.js';
import { requestJson } from '../core/server.js';

/** @import { Changes, Child, Lesson, Prediction, PanelState } from '../core/types.js' */

const STORAGE_KEY = 'kg-lessons';
const SCROLL_KEY = 'kg-lesson-place';

/**
 * The reader's predictions. They are stored in this browser or, if it has no storage, kept until
 * the page is closed.
 */
class Predictions {
  /** Reads the stored predictions. */
  constructor() {
    try {
      this.all = JSON.parse(localStorage.getItem(STORAGE_KEY)) ?? {};
    } catch {
      this.all = {};
    }
    if (typeof this.all !== 'object') this.all = {};
  }

  /**
   * Returns the prediction for a lesson.
   * @param {string} slug
   * @returns {Prediction}
   */
  get(slug) {
    return this.all[slug] ?? {};
  }

  /**
   * Stores a prediction.
   * @param {string} slug
   * @param {Prediction} prediction
   */
  set(slug, prediction) {
    this.all[slug] = prediction;
    try {
      localStorage.setItem(STORAGE_KEY, JSON.stringify(this.all));
    } catch {
      /* private window */
    }
  }
}

/** The Lessons page. */
export class Lessons {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {string} hooks.base
   * @param {boolean} [hooks.watching] Whether this is a viewer's page.
   * @param {() => void} hooks.openStudio Goes to the Studio.
   * @param {(changes: Changes) => void} hooks.go Goes to another lesson or term.
   * @param {() => void} hooks.pollSoon Polls the snapshot right away.
   */
  constructor(view, { base, watching, openStudio, go, pollSoon }) {
    this.base = base;
    this.watching = watching;
    this.openStudio = openStudio;
    this.go = go;
    this.pollSoon = pollSoon;
    this.visible = false;
    this.memory = new Predictions();
    this.slug = null;
    /** @type {{ lessons: Lesson[], wrong: string[] } | null} */
    this.all = null;
    this.root = view.querySelector('main.lessons');
    this.list = this.root.querySelector('.lesson-list');
    this.body = this.root.querySelector('article');
    this.findScroller = () =>
      // on a phone, the window scrolls
      this.root.scrollHeight > this.root.clientHeight + 1 ? this.root : document.scrollingElement;
    addEventListener('pagehide', () => {
      try {
        if (this.visible)
          sessionStorage.setItem(
            SCROLL_KEY,
            JSON.stringify([this.slug, this.findScroller().scrollTop]),
          );
      } catch {
        /* private window */
      }
    });
  }

  /**
   * Enters or leaves the page.
   * @param {boolean} visible
   */
  setVisible(visible) {
    this.visible = visible;
    if (visible) this.#show();
  }

  /**
   * Updates the open lesson for a new snapshot.
   * @param {PanelState} state With the live snapshot.
   */
  draw(state) {
    this.state = state;
    if (this.visible) this.view?.draw?.(state);
  }

  /**
   * Follows a link within this page without reloading it.
   * @param {MouseEvent} event
   * @param {string} to
   */
  link(event, to) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    const { tab, lesson, term } = address.parse(to);
    if (tab !== 'lessons') return;
    event.preventDefault();
    this.go({ lesson, term });
    if (this.findScroller() === this.root) this.root.scrollTop = 0;
  }

  /**
   * Sends a request to the server.
   * @param {string} path
   * @param {object} [body] Sent as JSON.
   * @returns {Promise<any>}
   */
  async request(path, body) {
    return requestJson(
      `${this.base}/kg/${path}`,
      body
        ? { method: 'POST', body: JSON.stringify(body) }
        : { signal: AbortSignal.timeout(10_000) },
    );
  }

  /**
   * Renders a text.
   * @param {any[]} nodes
   * @param {(name: string) => Child} numberNode
   * @returns {Child[]}
   */
  prose(nodes, numberNode) {
    return prose.draw(nodes, {
      numberNode,
      followLink: (event, to) => this.link(event, to),
    });
  }

  async #show() {
    const { lesson: requestedSlug, term } = address.read('lessons');
    const setVisible = (this.requestId = (this.requestId ?? 0) + 1);
    try {
      this.all ??= await this.request('lessons');
      const slug =
        requestedSlug === 'glossary' || this.all.lessons.some((x) => x.slug === requestedSlug)
          ? requestedSlug
          : '';
      const changed = slug !== this.slug || !this.view;
      const data =
        slug === 'glossary'
          ? await this.request('glossary')
          : slug && changed
            ? await this.request(`lessons/${slug}`)
            : null;
      if (setVisible !== this.requestId) return; // the page has changed in the meantime
      this.slug = slug;
      setAttr(this.root, 'data-place', slug ? 'lesson' : 'list');
      this.#drawList();
      if (slug === 'glossary') this.view = new GlossaryView(this.body, this, data, term);
      else if (changed)
        this.view = slug ? new LessonView(this.body, this, data) : this.#drawWelcome(requestedSlug);
      if (this.state) this.view?.draw?.(this.state);
      this.#restoreScroll();
    } catch (error) {
      if (setVisible === this.requestId) {
        setChildren(this.body, h('p', { class: 'error-message', role: 'alert' }, error.message));
        this.view = null;
      }
    }
  }

  /**
   * Restores the scroll position after a reload, as soon as the page is long enough and unless the
   * reader has scrolled in the meantime.
   */
  #restoreScroll() {
    if (this.scrollRestored) return;
    this.scrollRestored = true;
    try {
      const [slug, top] = JSON.parse(sessionStorage.getItem(SCROLL_KEY)) ?? [];
      if (slug !== this.slug || !top) return;
      const end = performance.now() + 8000;
      const interrupted = new AbortController();
      for (const eventType of ['wheel', 'touchstart', 'pointerdown', 'keydown'])
        addEventListener(eventType, () => interrupted.abort(), {
          once: true,
          passive: true,
          signal: interrupted.signal,
        });
      const restore = () => {
        if (interrupted.signal.aborted || !this.visible) return;
        const scroller = this.findScroller();
        scroller.scrollTop = top;
        if (scroller.scrollTop < top - 1 && performance.now() < end) setTimeout(restore, 100);
        else interrupted.abort();
      };
      restore();
    } catch {
      /* nothing was stored */
    }
  }

  #drawList() {
    const { lessons, wrong } = this.all;
    const done = lessons.filter((x) => this.memory.get(x.slug).done).length;
    const row = (slug, ...content) =>
      h(
        'a',
        {
          href: address.link({ tab: 'lessons', lesson: slug }),
          'aria-current': slug === this.slug ? 'page' : null,
          onclick: (event) => this.link(event, event.currentTarget.getAttribute('href')),
        },
        content,
      );
    setChildren(
      this.list,
      h('p', { class: 'muted small' }, `${done} of ${lessons.length} done`),
      h(
        'ol',
        null,
        lessons.map((x, i) =>
          h(
            'li',
            null,
            row(
              x.slug,
              h(
                'span',
                { class: 'mark', 'aria-hidden': 'true' },
                this.memory.get(x.slug).done ? '✓' : i + 1,
              ),
              h(
                'span',
                null,
                h('b', null, x.title),
                this.memory.get(x.slug).done ? h('span', { class: 'vh' }, ', done') : null,
                h('small', { class: 'muted' }, x.question),
              ),
              h('small', { class: 'muted num' }, x.minutes ? `${x.minutes} min/run` : 'no run'),
            ),
          ),
        ),
      ),
      wrong.map((text) => h('p', { class: 'error-message' }, text)),
      row(
        'glossary',
        h('span', { class: 'mark', 'aria-hidden': 'true' }, 'A–Z'),
        h(
          'span',
          null,
          h('b', null, 'Glossary'),
          h('small', { class: 'muted' }, 'Every term used in this app'),
        ),
      ),
    );
  }

  /** Redraws the list when a lesson is done. */
  updateList() {
    this.#drawList();
  }

  #drawWelcome(requestedSlug) {
    setChildren(
      this.body,
      h('h2', { class: 'title' }, 'Lessons'),
      h(
        'p',
        null,
        'Each lesson asks one question. You make a prediction, flip one switch, run it, and see what happens. Numbers in the text come from your run and are blank until then.',
      ),
      h(
        'p',
        null,
        'Two runs that differ in one switch are a small experiment, so every lesson also shows what the same switch did with other seeds, and what the paper reports.',
      ),
      this.all.lessons[0]
        ? h(
            'p',
            null,
            h(
              'a',
              {
                class: 'btn',
                href: address.link({ tab: 'lessons', lesson: this.all.lessons[0].slug }),
                onclick: (event) => this.link(event, event.currentTarget.getAttribute('href')),
              },
              `Start: ${this.all.lessons[0].title}`,
            ),
          )
        : null,
      requestedSlug
        ? h(
            'p',
            { class: 'error-message' },
            'There is no lesson with that name. Choose one from the list.',
          )
        : null,
    );
    return {};
  }
}
