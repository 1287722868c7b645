// The Inspect page: any run's images, one by one or class by class. The address holds what is
// shown, so that a link opens the same view.

import * as address from '../core/address.js';
import { RunStore, ask } from '../store/run_store.js';
import { Collection } from './collection.js';
import { h, num, pct, put, setAttr, setText } from '../core/dom.js';
import { ImageView } from './image_detail.js';
import * as where from '../store/image_filter.js';

/** @import { Changes, Shown } from '../core/types.js' */

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/; // of a run
const GOING = 2000;
const OVER = 8000;

/** The Inspect page. */
export class Inspect {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {string} hooks.base
   * @param {string} hooks.plotly Address of Plotly.
   * @param {(changes: Changes) => void} hooks.go Turns to another address of this page.
   */
  constructor(view, { base, plotly, go }) {
    this.base = base;
    this.go = go;
    this.on = false;
    this.asked = 0;
    this.said = null;
    this.ends = new Map();
    this.root = view.querySelector('main.inspect');
    /** @type {HTMLElement} */
    this.head = this.root.querySelector('.in-head');
    /** @type {HTMLElement} */
    this.dot = this.root.querySelector('.in-head .dot');
    /** @type {HTMLElement} */
    this.title = this.root.querySelector('.in-head h2');
    /** @type {HTMLSelectElement} */
    this.pick = this.root.querySelector('.in-pick');
    /** @type {HTMLElement} */
    this.line = this.root.querySelector('.in-head .said');
    /** @type {HTMLAnchorElement} */
    this.all = this.root.querySelector('.all');
    /** @type {HTMLButtonElement} */
    this.before = this.root.querySelector('.before');
    /** @type {HTMLButtonElement} */
    this.after = this.root.querySelector('.after');
    /** @type {HTMLElement} */
    this.none = this.root.querySelector('.none');
    /** @type {HTMLElement} */
    this.one = this.root.querySelector('.in-image');
    /** @type {HTMLElement} */
    this.many = this.root.querySelector('.in-class');
    const link = (changes) => ({
      href: address.href({ tab: 'inspect', ...changes }),
      onclick: (e) => {
        if (!(e.ctrlKey || e.metaKey || e.shiftKey)) {
          e.preventDefault();
          go(changes);
        }
      },
    });
    this.imageView = new ImageView(this.one, {
      plotly,
      link,
      step: (step) => this.#change({ step }),
    });
    this.collection = new Collection(this.many, {
      open: (it, pos) => this.#open(it, pos),
      change: (changes) => this.#change(changes),
    });
    this.pick.addEventListener('change', () =>
      go({ class: +this.pick.value, sel: null, step: null }),
    );
    this.all.addEventListener('click', (e) => {
      if (!(e.ctrlKey || e.metaKey || e.shiftKey)) {
        e.preventDefault();
        go(this.toAll);
      }
    });
    this.before.addEventListener('click', () => this.#turnTo(this.previous));
    this.after.addEventListener('click', () => this.#turnTo(this.next));
    document.addEventListener('keydown', (e) => this.#press(e));
    document.addEventListener('visibilitychange', () => this.#again(0));
  }

  /**
   * Enters or leaves the page.
   * @param {boolean} on
   * @param {boolean} popped The address came first, through a link or Back.
   */
  turn(on, popped) {
    if (this.on && !on && !popped) this.#leave();
    this.on = on;
    if (!on) {
      clearTimeout(this.timer);
      return;
    }
    this.restore = address.remembered();
    this.#read();
  }

  /**
   * Refreshes if the Studio shows another run, or more of the same one.
   * @param {Shown} shown With the live snapshot.
   */
  draw({ snapshot: snap }) {
    const mark = `${snap.run} ${snap.id} ${snap.attempt} ${snap.counters.iterations_done} ${snap.phase}`;
    if (mark === this.mark) return;
    this.mark = mark;
    this.studio = snap.run;
    if (this.on) this.#again(0);
  }

  // --- the address -------------------------------------------------------------------------------

  #read() {
    this.at = address.read('inspect');
    this.#again(0);
    if (this.store) this.#show();
  }

  /** Changes what is shown without adding a history entry. */
  #change(changes) {
    address.write(changes);
    this.#read();
  }

  /** Opens an image; Back returns to this place in the grid. */
  #open(it, pos) {
    address.remember({
      of: this.#list(),
      top: this.collection.grid.scroller().scrollTop,
      i: this.collection.grid.at,
    });
    this.go({ sel: { it, pos }, class: this.c, step: null });
  }

  /** Describes the list of images that the grid shows. */
  #list() {
    return `${this.store.mark} ${this.c} ${this.at.sort} ${this.at.where}`;
  }

  #turnTo(at) {
    if (at) this.#change({ sel: { it: at[0], pos: at[1] }, step: null });
  }

  /** Removes this page's parameters from the address before leaving. */
  #leave() {
    address.leave('inspect');
  }

  // --- the run -----------------------------------------------------------------------------------

  /**
   * The run being shown.
   * @returns {string | null | undefined}
   */
  get name() {
    return this.at?.run ?? this.studio;
  }

  #again(wait) {
    clearTimeout(this.timer);
    if (this.on && document.visibilityState === 'visible')
      this.timer = setTimeout(() => this.#refresh(), wait);
  }

  async #refresh() {
    const { name } = this;
    const turn = ++this.asked;
    if (!name)
      return this.studio === undefined
        ? undefined
        : this.#say('No runs yet. Start one in the Studio, or open a file on the Runs page.');
    if (!NAME.test(name)) return this.#say('There is no run with that name here.');
    try {
      const over = await ask(`${this.base}/kg/inspect/${encodeURIComponent(name)}`);
      if (turn !== this.asked || !this.on) return;
      if (!this.store || this.store.mark !== RunStore.mark(over))
        this.store = new RunStore(this.base, over, () => this.#show());
      const text = JSON.stringify(over);
      if (text !== this.told) {
        this.told = text;
        this.store.over = over;
        this.#show();
      }
    } catch (error) {
      if (turn !== this.asked || !this.on) return;
      this.told = null;
      // the status line already says that the server is not responding
      if (error.message !== 'The server is not responding.' || !this.store)
        this.#say(error.message);
    } finally {
      if (turn === this.asked) this.#again(this.told && !this.store.over.over ? GOING : OVER);
    }
  }

  // --- drawing -----------------------------------------------------------------------------

  #show() {
    const { store, at } = this;
    if (!this.on || !store || store.over.run !== this.name) return;
    if (!store.over.classes.length || !store.over.done)
      return this.#say(
        store.over.over
          ? 'This run ended before finishing an image.'
          : 'No images yet. They appear here after the first iteration.',
      );
    if (at.sel) this.#image();
    else this.#class();
  }

  /** Shows one sentence in place of everything else. */
  #say(text) {
    this.#parts({ none: true });
    setText(this.none, text);
    setText(this.title, 'Inspect');
    setText(this.line, this.at?.run ?? '');
    setAttr(this.dot, 'hidden', true);
    for (const node of [this.pick, this.all, this.before, this.after])
      setAttr(node, 'hidden', true);
  }

  #parts({ one = false, many = false, none = false }) {
    setAttr(this.one, 'hidden', !one);
    setAttr(this.many, 'hidden', !many);
    setAttr(this.none, 'hidden', !none);
  }

  async #image() {
    const { store, at } = this;
    const { it, pos } = at.sel;
    const key = `${it}:${pos}`;
    const now = () => this.on && this.store === store && this.at === at;
    let image;
    try {
      image = await store.get(`image/${it}/${pos}`);
    } catch (error) {
      if (now()) this.#say(error.message);
      return;
    }
    if (!now()) return;
    if (!this.ends.has(`${store.mark} ${key}`))
      // while it is shown, compare among the same images
      this.ends = new Map([[`${store.mark} ${key}`, store.over.done]]);
    const neighbors = store.get(`kin/${it}/${pos}/${this.ends.get(`${store.mark} ${key}`)}`);
    neighbors.then(
      (found) => {
        if (now()) this.#specimen(image, found);
      },
      (error) => {
        if (now()) this.#specimen(image, { error: error.message });
      },
    );
    this.#specimen(image, this.neighbors?.of === image ? this.neighbors.found : null);
    await this.#neighbours(image, now);
  }

  #specimen(image, found) {
    const { store, at } = this;
    const { over } = store;
    const name = over.classes[image.c] ?? `class ${image.c + 1}`;
    if (found) this.neighbors = { of: image, found };
    this.#parts({ one: true });
    this.#heading(image.c, name);
    const student =
      !over.student || !image.student_top || image.iteration < over.warmup
        ? ''
        : image.s == null
          ? ', but the class is not in the student’s top five'
          : `, the student ${pct(image.s)}`;
    setText(
      this.line,
      `iteration ${num(image.iteration + 1)}, image ${num(image.pos + 1)} of ${num(image.n)}.${image.p == null ? '' : ` The teacher is ${pct(image.p)} sure${student}.`} ${image.entered ? 'In the pool' : 'Not in the pool'}. Run ${over.run}.${image.warning ? ` ${image.warning}` : ''}`,
    );
    this.toAll = { sel: null, step: null, class: at.class ?? image.c };
    setText(this.all, `All ${name}`);
    setAttr(this.all, 'href', address.href(this.toAll));
    setAttr(this.all, 'hidden', image.c >= over.classes.length || image.c < 0);
    setAttr(this.pick, 'hidden', true);
    setAttr(this.title, 'hidden', false);
    const step = image.frames.some((frame) => frame.step === at.step) ? at.step : null;
    this.imageView.draw({
      snapshot: store,
      moment: step,
      selection: { image, neighbors: found },
    });
  }

  /** Previous and next: in the list the image was opened from, or else in its batch. */
  async #neighbours(image, now) {
    const { store, at } = this;
    const { done } = store.over;
    let before = image.before;
    let after = image.after[0] < done ? image.after : null;
    for (const node of [this.before, this.after]) setAttr(node, 'hidden', false);
    if (at.class != null && at.class < store.over.classes.length) {
      const samples = store.of(at.class);
      const { columns } = samples;
      try {
        await samples.grow(() => {});
      } catch {
        return;
      }
      if (!now()) return;
      const order = where.choose(
        columns,
        where.parse(at.where, store.over.own_terms),
        where.sorting(at.sort, store.over.own_terms),
      );
      const i = order.indexOf(samples.find(image.iteration, image.pos));
      const place = (k) =>
        order[k] == null ? null : [columns.it[order[k]], columns.pos[order[k]]];
      if (i >= 0) [before, after] = [place(i - 1), place(i + 1)];
    }
    this.previous = before;
    this.next = after;
    for (const [node, to, words] of [
      [this.before, before, 'Previous'],
      [this.after, after, 'Next'],
    ]) {
      setAttr(node, 'disabled', !to);
      setAttr(
        node,
        'data-tip',
        to ? `${words} image in the ${at.class != null ? 'list' : 'batch'} (arrow key)` : null,
      );
    }
    // prefetch, so that an arrow key shows it at once
    for (const to of [before, after]) if (to) store.get(`image/${to.join('/')}`).catch(() => {});
  }

  #class() {
    const { store, at } = this;
    const { over } = store;
    const c = (this.c = Math.min(at.class ?? 0, over.classes.length - 1));
    const samples = store.of(c);
    const now = () => this.on && this.store === store && this.at === at;
    this.#parts({ many: true });
    this.#heading(c, over.classes[c]);
    const several = over.classes.length > 1;
    setAttr(this.title, 'hidden', several);
    setAttr(this.pick, 'hidden', !several);
    if (several && this.picked !== store.mark) {
      this.picked = store.mark;
      put(
        this.pick,
        over.classes.map((name, i) => h('option', { value: i }, name)),
      );
    }
    this.pick.value = String(c);
    for (const node of [this.all, this.before, this.after]) setAttr(node, 'hidden', true);
    const draw = () => {
      const kept = samples.columns.pool?.reduce((n, v) => n + v, 0) ?? 0;
      setText(
        this.line,
        `${num(samples.n)} images from ${num(samples.done)} iterations, ${num(kept)} in the pool. Run ${over.run}.`,
      );
      const tests = this.tests?.of === `${store.mark} ${c} ${over.tests}` ? this.tests.found : null;
      this.collection.draw({
        snapshot: store,
        moment: null,
        selection: { samples, sort: at.sort, where: at.where, tests },
      });
      this.#restore(samples);
    };
    draw();
    samples
      .grow(() => {
        if (now()) draw();
      })
      .then(
        () => {
          if (now()) draw();
        },
        (error) => {
          if (now()) {
            if (samples.n) setText(this.line, error.message);
            else this.#say(error.message);
          }
        },
      );
    if (over.tests)
      store
        .get(`tests/${c}/${over.tests}`)
        .catch((error) => ({ error: error.message }))
        .then((found) => {
          this.tests = { of: `${store.mark} ${c} ${over.tests}`, found };
          if (now()) draw();
        });
  }

  /** Scrolls back to where the grid was when an image was opened from it. */
  #restore(samples) {
    if (this.restore?.of !== this.#list()) return;
    const { grid } = this.collection;
    const scroller = grid.scroller();
    const { top, i } = this.restore;
    const room = scroller.scrollHeight - scroller.clientHeight;
    if (samples.done < samples.total && room < top) return; // its images have not arrived yet
    this.restore = null;
    scroller.scrollTop = top;
    grid.draw();
    grid.resume(i);
  }

  #heading(c, name) {
    setText(this.title, name ?? '');
    setAttr(this.dot, 'hidden', false);
    this.dot.style.setProperty('--c', `var(--c${this.store.colours[c] ?? 0})`);
  }

  #press(event) {
    if (
      !this.on ||
      this.one.hidden ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      event.shiftKey ||
      event.target.closest?.('input, textarea, select, [contenteditable], .surface')
    )
      return;
    const to = { ArrowLeft: this.previous, ArrowRight: this.next }[event.key];
    if (to) {
      event.preventDefault();
      this.#turnTo(to);
    }
  }
}
