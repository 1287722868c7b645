// The Inspect page: any run's images, one by one or class by class. The address stores what is
// shown, so that a link opens the same view.

import * as address from '../core/address.js';
import { UNREACHABLE } from '../core/server.js';
import { RunStore, fetchJson } from '../store/run_store.js';
import { Collection } from './collection.js';
import { h, num, pct, setChildren, setAttr, setText } from '../core/dom.js';
import { ImageView } from './image_detail.js';
import * as imageFilter from '../store/image_filter.js';

/** @import { Changes, PanelState } from '../core/types.js' */

const RUN_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/; // of a run
const ACTIVE_PERIOD_MS = 2000;
const ENDED_PERIOD_MS = 8000;

/** The Inspect page. */
export class Inspect {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {string} hooks.base
   * @param {string} hooks.plotly Address of Plotly.
   * @param {(changes: Changes) => void} hooks.go Goes to another address of this page.
   */
  constructor(view, { base, plotly, go }) {
    this.base = base;
    this.go = go;
    this.visible = false;
    this.requestId = 0;
    this.comparedIterations = new Map();
    this.root = view.querySelector('main.inspect');
    /** @type {HTMLElement} */
    this.header = this.root.querySelector('.in-head');
    /** @type {HTMLElement} */
    this.dot = this.root.querySelector('.in-head .dot');
    /** @type {HTMLElement} */
    this.heading = this.root.querySelector('.in-head h2');
    /** @type {HTMLSelectElement} */
    this.classSelect = this.root.querySelector('.in-pick');
    /** @type {HTMLElement} */
    this.summary = this.root.querySelector('.in-head .said');
    /** @type {HTMLAnchorElement} */
    this.allLink = this.root.querySelector('.all');
    /** @type {HTMLButtonElement} */
    this.previousButton = this.root.querySelector('.before');
    /** @type {HTMLButtonElement} */
    this.nextButton = this.root.querySelector('.after');
    /** @type {HTMLElement} */
    this.emptyState = this.root.querySelector('.none');
    /** @type {HTMLElement} */
    this.imageSection = this.root.querySelector('.in-image');
    /** @type {HTMLElement} */
    this.classSection = this.root.querySelector('.in-class');
    const link = (changes) => ({
      href: address.href({ tab: 'inspect', ...changes }),
      onclick: (e) => {
        if (!(e.ctrlKey || e.metaKey || e.shiftKey)) {
          e.preventDefault();
          go(changes);
        }
      },
    });
    this.imageView = new ImageView(this.imageSection, {
      plotly,
      link,
      onStep: (step) => this.#change({ step }),
    });
    this.collection = new Collection(this.classSection, {
      open: (it, pos) => this.#open(it, pos),
      change: (changes) => this.#change(changes),
    });
    this.classSelect.addEventListener('change', () =>
      go({ class: +this.classSelect.value, sel: null, step: null }),
    );
    this.allLink.addEventListener('click', (e) => {
      if (!(e.ctrlKey || e.metaKey || e.shiftKey)) {
        e.preventDefault();
        go(this.allParameters);
      }
    });
    this.previousButton.addEventListener('click', () => this.#goTo(this.previous));
    this.nextButton.addEventListener('click', () => this.#goTo(this.next));
    document.addEventListener('keydown', (e) => this.#onKeydown(e));
    document.addEventListener('visibilitychange', () => this.#refreshSoon(0));
  }

  /**
   * Enters or leaves the page.
   * @param {boolean} visible
   * @param {boolean} popped Back or Forward changed the address.
   */
  setVisible(visible, popped) {
    if (this.visible && !visible && !popped) this.#leave();
    this.visible = visible;
    if (!visible) {
      clearTimeout(this.timer);
      return;
    }
    this.scrollToRestore = address.remembered();
    this.#readAddress();
  }

  /**
   * Refreshes if the Studio shows another run, or if its run has progressed.
   * @param {PanelState} state With the live snapshot.
   */
  draw({ snapshot: snap }) {
    const studioKey = `${snap.run} ${snap.id} ${snap.attempt} ${snap.counters.iterations_done} ${snap.phase}`;
    if (studioKey === this.studioKey) return;
    this.studioKey = studioKey;
    this.studioRun = snap.run;
    if (this.visible) this.#refreshSoon(0);
  }

  // --- the address -------------------------------------------------------------------------------

  #readAddress() {
    this.parameters = address.read('inspect');
    this.#refreshSoon(0);
    if (this.store) this.#show();
  }

  /** Changes what is shown without adding a history entry. */
  #change(changes) {
    address.write(changes);
    this.#readAddress();
  }

  /** Opens an image; Back returns to this place in the grid. */
  #open(it, pos) {
    address.remember({
      of: this.#listKey(),
      top: this.collection.grid.scroller().scrollTop,
      i: this.collection.grid.tabStop,
    });
    this.go({ sel: { it, pos }, class: this.c, step: null });
  }

  /** Describes the list of images that the grid shows. */
  #listKey() {
    return `${this.store.attemptKey} ${this.c} ${this.parameters.sort} ${this.parameters.where}`;
  }

  #goTo(image) {
    if (image) this.#change({ sel: { it: image[0], pos: image[1] }, step: null });
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
    return this.parameters?.run ?? this.studioRun;
  }

  #refreshSoon(wait) {
    clearTimeout(this.timer);
    if (this.visible && document.visibilityState === 'visible')
      this.timer = setTimeout(() => this.#refresh(), wait);
  }

  async #refresh() {
    const { name } = this;
    const requestId = ++this.requestId;
    if (!name)
      return this.studioRun === undefined
        ? undefined
        : this.#showMessage(
            'No runs yet. Start one in the Studio, or open a file on the Runs page.',
          );
    if (!RUN_NAME.test(name)) return this.#showMessage('There is no run with that name here.');
    try {
      const overview = await fetchJson(`${this.base}/kg/inspect/${encodeURIComponent(name)}`);
      if (requestId !== this.requestId || !this.visible) return;
      if (!this.store || this.store.attemptKey !== RunStore.attemptKey(overview))
        this.store = new RunStore(this.base, overview, () => this.#show());
      const text = JSON.stringify(overview);
      if (text !== this.overviewText) {
        this.overviewText = text;
        this.store.overview = overview;
        this.#show();
      }
    } catch (error) {
      if (requestId !== this.requestId || !this.visible) return;
      this.overviewText = null;
      // the status line already says that the server is not responding
      if (error.code !== UNREACHABLE || !this.store) this.#showMessage(error.message);
    } finally {
      if (requestId === this.requestId)
        this.#refreshSoon(
          this.overviewText && !this.store.overview.over ? ACTIVE_PERIOD_MS : ENDED_PERIOD_MS,
        );
    }
  }

  // --- drawing -----------------------------------------------------------------------------

  #show() {
    const { store, parameters } = this;
    if (!this.visible || !store || store.overview.run !== this.name) return;
    if (!store.overview.classes.length || !store.overview.done)
      return this.#showMessage(
        store.overview.over
          ? 'This run ended before finishing an image.'
          : 'No images yet. They appear here after the first iteration.',
      );
    if (parameters.sel) this.#image();
    else this.#class();
  }

  /** Shows only a message. */
  #showMessage(text) {
    this.#showSection(this.emptyState);
    setText(this.emptyState, text);
    setText(this.heading, 'Inspect');
    setText(this.summary, this.parameters?.run ?? '');
    setAttr(this.dot, 'hidden', true);
    for (const node of [this.classSelect, this.allLink, this.previousButton, this.nextButton])
      setAttr(node, 'hidden', true);
  }

  #showSection(section) {
    for (const node of [this.imageSection, this.classSection, this.emptyState])
      setAttr(node, 'hidden', node !== section);
  }

  async #image() {
    const { store, parameters } = this;
    const { it, pos } = parameters.sel;
    const key = `${it}:${pos}`;
    const isCurrent = () => this.visible && this.store === store && this.parameters === parameters;
    let image;
    try {
      image = await store.get(`image/${it}/${pos}`);
    } catch (error) {
      if (isCurrent()) this.#showMessage(error.message);
      return;
    }
    if (!isCurrent()) return;
    if (!this.comparedIterations.has(`${store.attemptKey} ${key}`))
      // while an image is shown, compare it with the same set of images
      this.comparedIterations = new Map([[`${store.attemptKey} ${key}`, store.overview.done]]);
    const neighbors = store.get(
      `neighbors/${it}/${pos}/${this.comparedIterations.get(`${store.attemptKey} ${key}`)}`,
    );
    neighbors.then(
      (found) => {
        if (isCurrent()) this.#drawImage(image, found);
      },
      (error) => {
        if (isCurrent()) this.#drawImage(image, { error: error.message });
      },
    );
    this.#drawImage(image, this.neighbors?.of === image ? this.neighbors.neighbors : null);
    await this.#updateNavigation(image, isCurrent);
  }

  #drawImage(image, neighbors) {
    const { store, parameters } = this;
    const { overview } = store;
    const name = overview.classes[image.c] ?? `class ${image.c + 1}`;
    if (neighbors) this.neighbors = { of: image, neighbors };
    this.#showSection(this.imageSection);
    this.#heading(image.c, name);
    const student =
      !overview.student || !image.student_top || image.iteration < overview.warmup
        ? ''
        : image.s == null
          ? ', but the class is not in the student’s top five'
          : `, the student ${pct(image.s)}`;
    setText(
      this.summary,
      `iteration ${num(image.iteration + 1)}, image ${num(image.pos + 1)} of ${num(image.n)}.${image.p == null ? '' : ` The teacher is ${pct(image.p)} sure${student}.`} ${image.entered ? 'In the pool' : 'Not in the pool'}. Run ${overview.run}.${image.warning ? ` ${image.warning}` : ''}`,
    );
    this.allParameters = { sel: null, step: null, class: parameters.class ?? image.c };
    setText(this.allLink, `All ${name}`);
    setAttr(this.allLink, 'href', address.href(this.allParameters));
    setAttr(this.allLink, 'hidden', image.c >= overview.classes.length || image.c < 0);
    setAttr(this.classSelect, 'hidden', true);
    setAttr(this.heading, 'hidden', false);
    const step = image.frames.some((frame) => frame.step === parameters.step)
      ? parameters.step
      : null;
    this.imageView.draw({
      snapshot: store,
      moment: step,
      selection: { image, neighbors },
    });
  }

  /** Finds the previous and next image, in the list it was opened from or else in its batch. */
  async #updateNavigation(image, isCurrent) {
    const { store, parameters } = this;
    const { done } = store.overview;
    let previous = image.before;
    let next = image.after[0] < done ? image.after : null;
    for (const node of [this.previousButton, this.nextButton]) setAttr(node, 'hidden', false);
    if (parameters.class != null && parameters.class < store.overview.classes.length) {
      const samples = store.samplesOf(parameters.class);
      const { columns } = samples;
      try {
        await samples.load(() => {});
      } catch {
        return;
      }
      if (!isCurrent()) return;
      const order = imageFilter.selectRows(
        columns,
        imageFilter.parse(parameters.where, store.overview.own_terms),
        imageFilter.parseSorting(parameters.sort, store.overview.own_terms),
      );
      const i = order.indexOf(samples.find(image.iteration, image.pos));
      const imageAt = (k) =>
        order[k] == null ? null : [columns.it[order[k]], columns.pos[order[k]]];
      if (i >= 0) [previous, next] = [imageAt(i - 1), imageAt(i + 1)];
    }
    this.previous = previous;
    this.next = next;
    for (const [node, to, label] of [
      [this.previousButton, previous, 'Previous'],
      [this.nextButton, next, 'Next'],
    ]) {
      setAttr(node, 'disabled', !to);
      setAttr(
        node,
        'data-tip',
        to
          ? `${label} image in the ${parameters.class != null ? 'list' : 'batch'} (arrow key)`
          : null,
      );
    }
    // prefetch, so that an arrow key shows it at once
    for (const to of [previous, next]) if (to) store.get(`image/${to.join('/')}`).catch(() => {});
  }

  #class() {
    const { store, parameters } = this;
    const { overview } = store;
    const c = (this.c = Math.min(parameters.class ?? 0, overview.classes.length - 1));
    const samples = store.samplesOf(c);
    const isCurrent = () => this.visible && this.store === store && this.parameters === parameters;
    this.#showSection(this.classSection);
    this.#heading(c, overview.classes[c]);
    const hasSeveral = overview.classes.length > 1;
    setAttr(this.heading, 'hidden', hasSeveral);
    setAttr(this.classSelect, 'hidden', !hasSeveral);
    if (hasSeveral && this.classOptionsKey !== store.attemptKey) {
      this.classOptionsKey = store.attemptKey;
      setChildren(
        this.classSelect,
        overview.classes.map((name, i) => h('option', { value: i }, name)),
      );
    }
    this.classSelect.value = String(c);
    for (const node of [this.allLink, this.previousButton, this.nextButton])
      setAttr(node, 'hidden', true);
    const draw = () => {
      const poolCount = samples.columns.pool?.reduce((n, v) => n + v, 0) ?? 0;
      setText(
        this.summary,
        `${num(samples.n)} images from ${num(samples.done)} iterations, ${num(poolCount)} in the pool. Run ${overview.run}.`,
      );
      const tests =
        this.tests?.of === `${store.attemptKey} ${c} ${overview.tests}` ? this.tests.found : null;
      this.collection.draw({
        snapshot: store,
        moment: null,
        selection: { samples, sort: parameters.sort, where: parameters.where, tests },
      });
      this.#restore(samples);
    };
    draw();
    samples
      .load(() => {
        if (isCurrent()) draw();
      })
      .then(
        () => {
          if (isCurrent()) draw();
        },
        (error) => {
          if (isCurrent()) {
            if (samples.n) setText(this.summary, error.message);
            else this.#showMessage(error.message);
          }
        },
      );
    if (overview.tests)
      store
        .get(`tests/${c}/${overview.tests}`)
        .catch((error) => ({ error: error.message }))
        .then((found) => {
          this.tests = { of: `${store.attemptKey} ${c} ${overview.tests}`, found };
          if (isCurrent()) draw();
        });
  }

  /** Scrolls back to where the grid was when an image was opened from it. */
  #restore(samples) {
    if (this.scrollToRestore?.of !== this.#listKey()) return;
    const { grid } = this.collection;
    const scroller = grid.scroller();
    const { top, i } = this.scrollToRestore;
    const maxScroll = scroller.scrollHeight - scroller.clientHeight;
    if (samples.done < samples.total && maxScroll < top) return; // its images have not arrived yet
    this.scrollToRestore = null;
    scroller.scrollTop = top;
    grid.draw();
    grid.restoreFocus(i);
  }

  #heading(c, name) {
    setText(this.heading, name ?? '');
    setAttr(this.dot, 'hidden', false);
    this.dot.style.setProperty('--c', `var(--c${this.store.colorSlots[c] ?? 0})`);
  }

  #onKeydown(event) {
    if (
      !this.visible ||
      this.imageSection.hidden ||
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
      this.#goTo(to);
    }
  }
}
