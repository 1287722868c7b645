// The Lessons page: the list, one lesson or the glossary, as given by the address. The reader's
// predictions stay in this browser.

import * as address from '../core/address.js';
import * as prose from '../core/prose.js';
import { GlossaryView } from './glossary_view.js';
import { LessonView } from './lesson.js';
import { h, put, setAttr } from '../core/dom.js';

/** @import { Changes, Child, Lesson, Prediction, Shown } from '../core/types.js' */

const KEPT = 'kg-lessons';
const PLACE = 'kg-lesson-place';

/**
 * The reader's predictions, stored in this browser, or until the page is closed if the browser has
 * no storage.
 */
class Memory {
  /** Reads the stored predictions. */
  constructor() {
    try {
      this.all = JSON.parse(localStorage.getItem(KEPT)) ?? {};
    } catch {
      this.all = {};
    }
    if (typeof this.all !== 'object') this.all = {};
  }

  /**
   * Looks up a lesson.
   * @param {string} slug
   * @returns {Prediction}
   */
  of(slug) {
    return this.all[slug] ?? {};
  }

  /**
   * Remembers a prediction.
   * @param {string} slug
   * @param {Prediction} said
   */
  keep(slug, said) {
    this.all[slug] = said;
    try {
      localStorage.setItem(KEPT, JSON.stringify(this.all));
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
   * @param {() => void} hooks.studio Turns to the Studio.
   * @param {(changes: Changes) => void} hooks.go Turns to another place of this page.
   * @param {() => void} hooks.soon Asks for the snapshot at once.
   */
  constructor(view, { base, watching, studio, go, soon }) {
    this.base = base;
    this.watching = watching;
    this.studio = studio;
    this.go = go;
    this.soon = soon;
    this.on = false;
    this.memory = new Memory();
    this.slug = null;
    /** @type {{ lessons: Lesson[], wrong: string[] } | null} */
    this.all = null;
    this.root = view.querySelector('main.lessons');
    this.list = this.root.querySelector('.lesson-list');
    this.body = this.root.querySelector('article');
    this.scroller = () =>
      // on a phone, the window scrolls
      this.root.scrollHeight > this.root.clientHeight + 1 ? this.root : document.scrollingElement;
    addEventListener('pagehide', () => {
      try {
        if (this.on)
          sessionStorage.setItem(PLACE, JSON.stringify([this.slug, this.scroller().scrollTop]));
      } catch {
        /* private window */
      }
    });
  }

  /**
   * Enters or leaves the page.
   * @param {boolean} on
   */
  turn(on) {
    this.on = on;
    if (on) this.#show();
  }

  /**
   * Takes an update of the run that everyone sees.
   * @param {Shown} shown With the live snapshot.
   */
  draw(shown) {
    this.last = shown;
    if (this.on) this.shown?.draw?.(shown);
  }

  /**
   * Follows a link to another place of this page without loading it again.
   * @param {MouseEvent} event
   * @param {string} to
   */
  link(event, to) {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    const { tab, lesson, term } = address.parse(to);
    if (tab !== 'lessons') return;
    event.preventDefault();
    this.go({ lesson, term });
    if (this.scroller() === this.root) this.root.scrollTop = 0;
  }

  /**
   * Asks the server.
   * @param {string} path
   * @param {object} [said] Sent as JSON.
   * @returns {Promise<any>}
   */
  async ask(path, said) {
    let answer;
    try {
      answer = await fetch(
        `${this.base}/kg/${path}`,
        said
          ? { method: 'POST', body: JSON.stringify(said) }
          : { signal: AbortSignal.timeout(10_000) },
      );
    } catch {
      throw new Error('The server is not responding.');
    }
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }

  /**
   * Draws a text.
   * @param {any[]} nodes
   * @param {(name: string) => Child} place
   * @returns {Child[]}
   */
  prose(nodes, place) {
    return prose.draw(nodes, { place, go: (event, to) => this.link(event, to) });
  }

  async #show() {
    const { lesson: wanted, term } = address.read('lessons');
    const turn = (this.turns = (this.turns ?? 0) + 1);
    try {
      this.all ??= await this.ask('lessons');
      const slug =
        wanted === 'glossary' || this.all.lessons.some((x) => x.slug === wanted) ? wanted : '';
      const changed = slug !== this.slug || !this.shown;
      const told =
        slug === 'glossary'
          ? await this.ask('glossary')
          : slug && changed
            ? await this.ask(`lessons/${slug}`)
            : null;
      if (turn !== this.turns) return; // the page has changed in the meantime
      this.slug = slug;
      setAttr(this.root, 'data-place', slug ? 'lesson' : 'list');
      this.#contents();
      if (slug === 'glossary') this.shown = new GlossaryView(this.body, this, told, term);
      else if (changed)
        this.shown = slug ? new LessonView(this.body, this, told) : this.#welcome(wanted);
      if (this.last) this.shown?.draw?.(this.last);
      this.#return();
    } catch (error) {
      if (turn === this.turns) {
        put(this.body, h('p', { class: 'wrong', role: 'alert' }, error.message));
        this.shown = null;
      }
    }
  }

  /**
   * Restores the scroll position after a reload, as soon as the page is long enough and unless the
   * reader has scrolled in the meantime.
   */
  #return() {
    if (this.returned) return;
    this.returned = true;
    try {
      const [slug, top] = JSON.parse(sessionStorage.getItem(PLACE)) ?? [];
      if (slug !== this.slug || !top) return;
      const end = performance.now() + 8000;
      const moved = new AbortController();
      for (const what of ['wheel', 'touchstart', 'pointerdown', 'keydown'])
        addEventListener(what, () => moved.abort(), {
          once: true,
          passive: true,
          signal: moved.signal,
        });
      const go = () => {
        if (moved.signal.aborted || !this.on) return;
        const at = this.scroller();
        at.scrollTop = top;
        if (at.scrollTop < top - 1 && performance.now() < end) setTimeout(go, 100);
        else moved.abort();
      };
      go();
    } catch {
      /* nothing was stored */
    }
  }

  #contents() {
    const { lessons, wrong } = this.all;
    const done = lessons.filter((x) => this.memory.of(x.slug).done).length;
    const row = (slug, ...what) =>
      h(
        'a',
        {
          href: address.link({ tab: 'lessons', lesson: slug }),
          'aria-current': slug === this.slug ? 'page' : null,
          onclick: (event) => this.link(event, event.currentTarget.getAttribute('href')),
        },
        what,
      );
    put(
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
                this.memory.of(x.slug).done ? '✓' : i + 1,
              ),
              h(
                'span',
                null,
                h('b', null, x.title),
                this.memory.of(x.slug).done ? h('span', { class: 'vh' }, ', done') : null,
                h('small', { class: 'muted' }, x.question),
              ),
              h('small', { class: 'muted num' }, x.minutes ? `${x.minutes} min/run` : 'no run'),
            ),
          ),
        ),
      ),
      wrong.map((text) => h('p', { class: 'wrong' }, text)),
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
  done() {
    this.#contents();
  }

  #welcome(wanted) {
    put(
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
      wanted
        ? h('p', { class: 'wrong' }, 'There is no lesson with that name. Choose one from the list.')
        : null,
    );
    return {};
  }
}
