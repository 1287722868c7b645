// The Compare page: up to four runs side by side, aligned by budget, time or step. The address
// holds the runs, the axis and the moment.

import * as address from '../core/address.js';
import { close } from '../core/dialog.js';
import { draw as drawTable } from './differences.js';
import { badge, h, put, setAttr, setText } from '../core/dom.js';
import { flip } from '../runs/rerun_dialog.js';
import { stateName } from '../runs/run_row.js';
import { CompareImages } from './compare_images.js';
import { Overlay, words } from '../charts/overlay.js';
import { pick } from './run_picker.js';

/** @import { Axis, Snapshot } from '../core/types.js' */

const PERIOD = 1500;
const STEPS = 200;
const AXES = { budget: 'pixels', time: 't', step: 'step' };

/** The Compare page. */
export class Compare {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {string} hooks.base
   * @param {(names: string[]) => void} hooks.go Goes to the comparison of those runs, as a new
   *   history entry.
   */
  constructor(view, { base, go }) {
    this.base = base;
    this.go = go;
    this.on = false;
    this.names = [];
    /** @type {Axis} */
    this.by = 'budget';
    this.point = null;
    this.told = null;
    this.columns = new Map();
    this.fetching = new Set();
    this.root = view.querySelector('main.compare');
    /** @type {HTMLElement} */
    this.cards = this.root.querySelector('.c-runs');
    /** @type {HTMLElement} */
    this.verdict = this.root.querySelector('.c-verdict');
    /** @type {HTMLElement} */
    this.none = this.root.querySelector('.none');
    /** @type {HTMLElement} */
    this.align = this.root.querySelector('.c-align');
    /** @type {HTMLInputElement} */
    this.slider = this.root.querySelector('[type=range]');
    /** @type {HTMLElement} */
    this.said = this.root.querySelector('output');
    /** @type {HTMLButtonElement} */
    this.newest = this.root.querySelector('.newest');
    /** @type {HTMLElement} */
    this.board = this.root.querySelector('.c-board');
    /** @type {HTMLElement} */
    this.table = this.root.querySelector('.c-table');
    this.images = new CompareImages(this.root.querySelector('.c-pictures'), base);
    this.overlay = new Overlay(this.root.querySelector('.c-curves'), (x) => this.#move(x));
    for (const input of this.#radios())
      input.addEventListener('change', () => {
        this.by = /** @type {Axis} */ (input.value);
        this.point = null;
        address.write({ by: this.by, point: null });
        this.#draw();
      });
    this.slider.addEventListener('input', () =>
      this.#move(+this.slider.value >= STEPS ? null : (+this.slider.value / STEPS) * this.max),
    );
    this.newest.addEventListener('click', () => {
      this.#move(null);
      this.slider.focus();
    });
    document.addEventListener('visibilitychange', () => this.#again(0));
  }

  /**
   * Enters or leaves the page.
   * @param {boolean} on
   */
  turn(on) {
    this.on = on;
    if (!on) return close();
    const { runs, by, point } = address.read('compare');
    Object.assign(this, { names: runs, by, point });
    if (this.told && this.told.runs.map((run) => run.name).join() !== this.names.join())
      this.told = null;
    this.etag = '';
    this.#begin();
    this.#draw();
    this.#again(0);
  }

  /**
   * Without a selection, starts with the run shown in the Studio; others can be added to it.
   */
  #begin() {
    if (!this.on || this.names.length || !this.shown) return;
    this.names = [this.shown];
    address.write({ runs: this.names });
  }

  /**
   * Refreshes if the run in the Studio has changed: it may be one of these.
   * @param {Snapshot} snap
   */
  follow(snap) {
    const mark = `${snap.run} ${snap.phase}`;
    this.shown = snap.run;
    this.#begin();
    if (this.mark !== mark) {
      this.mark = mark;
      this.#again(300);
    }
  }

  #again(wait) {
    clearTimeout(this.timer);
    if (this.on && document.visibilityState === 'visible')
      this.timer = setTimeout(() => this.#refresh(), wait);
  }

  async #refresh() {
    const names = this.names.join(',');
    try {
      if (!names) return;
      const answer = await fetch(`${this.base}/kg/compare?runs=${names}`, {
        headers: this.etag ? { 'If-None-Match': this.etag } : {},
        cache: 'no-store',
        signal: AbortSignal.timeout(20_000),
      });
      if (answer.status === 304) return;
      if (!answer.ok) throw new TypeError(`status ${answer.status}`);
      const told = await answer.json();
      if (names !== this.names.join(',')) return; // other runs were selected in the meantime
      this.etag = answer.headers.get('ETag') ?? '';
      this.told = told;
      for (const run of told.runs) if (run.key) this.#fetch(run);
      this.#draw();
    } catch (error) {
      if (error.name !== 'TimeoutError' && !(error instanceof TypeError)) throw error;
    } finally {
      // the status line says that the server is not responding
      this.#again(PERIOD);
    }
  }

  /**
   * Fetches a run's columns, once per key; the old ones stay on screen until the new ones arrive.
   */
  async #fetch({ name, id, key }) {
    const what = `${name} ${id} ${key}`;
    if (this.columns.get(name)?.what === what || this.fetching.has(what)) return;
    this.fetching.add(what);
    try {
      const answer = await fetch(
        `${this.base}/kg/columns/${encodeURIComponent(name)}/${encodeURIComponent(key)}?id=${encodeURIComponent(id)}`,
        { signal: AbortSignal.timeout(20_000) },
      );
      if (!answer.ok) throw new TypeError(`status ${answer.status}`);
      this.columns.set(name, { what, ...(await answer.json()) });
      this.#draw();
    } catch (error) {
      if (error.name !== 'TimeoutError' && !(error instanceof TypeError)) throw error;
      this.etag = ''; // retried at the next refresh
    } finally {
      this.fetching.delete(what);
    }
  }

  /** Moves to a moment on the axis; null is the newest. */
  #move(x) {
    this.point = x == null || x >= this.max ? null : x;
    clearTimeout(this.writing);
    // browsers reject too many history updates
    this.writing = setTimeout(() => address.write({ point: this.point }), 200);
    this.#draw();
  }

  #choose(names) {
    if (names.join() !== this.names.join()) this.go(names);
  }

  #draw() {
    if (!this.on) return;
    const runs = this.told?.runs ?? this.names.map((name, i) => ({ letter: 'ABCD'[i], name }));
    const ready = runs.filter((run) => run.key);
    this.#cards(runs);
    this.#verdict(runs);
    const shown = ready
      .map((run) => ({
        ...run,
        i: 'ABCD'.indexOf(run.letter),
        columns: this.columns.get(run.name),
      }))
      .filter((run) => run.columns);
    for (const node of [this.align, this.board]) setAttr(node, 'hidden', !shown.length);
    setAttr(this.table, 'hidden', !this.told?.table);
    if (!shown.length) return;
    const axis = AXES[this.by];
    this.max = Math.max(
      1,
      ...shown.map((run) => run.columns.end[['pixels', 't', 'step'].indexOf(axis)]),
    );
    const x = Math.min(this.point ?? this.max, this.max);
    const told = words(this.by, x, shown);
    for (const input of this.#radios()) input.checked = input.value === this.by;
    if (document.activeElement !== this.slider || this.point == null)
      this.slider.value = String(Math.round((STEPS * x) / this.max));
    setAttr(this.slider, 'aria-valuetext', told);
    setText(this.said, told);
    setAttr(this.newest, 'hidden', this.point == null);
    this.images.draw(shown, axis, x);
    this.overlay.draw(shown, this.by, axis, x, this.max);
    if (this.told.table) {
      drawTable(this.table, this.told, shown);
      setAttr(
        this.table.querySelector('.csv'),
        'href',
        `${this.base}/kg/compare.csv?runs=${this.names.join(',')}`,
      );
    }
  }

  /** @returns {NodeListOf<HTMLInputElement>} */
  #radios() {
    return this.align.querySelectorAll('input[type=radio]');
  }

  #cards(runs) {
    const key = JSON.stringify(
      runs.map(({ name, title, state, note, picture, fault }) => [
        name,
        title,
        state,
        note,
        state !== 'going' && picture,
        fault,
      ]),
    );
    if (key === this.cardsKey) return;
    this.cardsKey = key;
    const held = /** @type {HTMLElement} */ (document.activeElement)?.dataset?.at;
    put(
      this.cards,
      runs.map((run, i) =>
        h(
          'div',
          { class: 'c-run', 'data-run': run.name },
          badge(i),
          h(
            'div',
            { class: 'what' },
            h('h2', null, run.name),
            h(
              'p',
              { class: 'muted' },
              [run.title, stateName(run.state)].filter(Boolean).join(' · '),
            ),
            run.note && h('p', { class: 'said' }, run.note),
            run.fault && h('p', { class: 'wrong', role: 'alert' }, run.fault),
            run.key &&
              h(
                'button',
                {
                  type: 'button',
                  class: 'link',
                  'data-for': 'presenter',
                  'data-at': `flip ${run.name}`,
                  'aria-haspopup': 'dialog',
                  'data-tip':
                    'Rerun this with one switch flipped and everything else the same, including seed and budget.',
                  onclick: () => flip(this.base, run.name, (made) => this.go([run.name, made])),
                },
                'Flip one switch…',
              ),
          ),
          run.picture &&
            run.state !== 'going' &&
            h('img', {
              alt: '',
              src: `${this.base}/kg/picture/${encodeURIComponent(run.name)}/${run.picture}`,
            }),
          h(
            'button',
            {
              type: 'button',
              class: 'link drop',
              'data-at': `drop ${run.name}`,
              'aria-label': `Remove ${run.name}`,
              'data-tip': 'Remove from comparison',
              onclick: () => this.#choose(this.names.filter((name) => name !== run.name)),
            },
            '×',
          ),
        ),
      ),
      h(
        'button',
        {
          type: 'button',
          class: 'btn',
          'data-at': 'choose',
          'aria-haspopup': 'dialog',
          onclick: () =>
            pick(this.base, this.names, address.MOST_RUNS, (names) => this.#choose(names)),
        },
        runs.length ? 'Choose runs…' : 'Choose two or more runs…',
      ),
    );
    if (held)
      (
        [.../** @type {NodeListOf<HTMLElement>} */ (this.cards.querySelectorAll('[data-at]'))].find(
          (node) => node.dataset.at === held,
        ) ?? /** @type {HTMLElement} */ (this.cards.lastChild)
      ).focus(); // the button of a removed run is gone
  }

  #verdict(runs) {
    const { verdict, spread } = this.told ?? {};
    const wrong = runs.some((run) => run.fault && !run.key);
    setAttr(this.verdict, 'hidden', !verdict);
    setAttr(this.none, 'hidden', Boolean(verdict) || (!this.told && runs.length > 0));
    setText(
      this.none,
      runs.some((run) => run.state === 'just beginning')
        ? 'One of these runs is just starting.'
        : wrong
          ? 'One of these runs could not be read. Remove it, or choose another.'
          : runs.length
            ? 'Choose another run to compare with.'
            : 'Compare runs side by side: images, curves and recipes, at equal budget, time or step.',
    );
    if (!verdict) return;
    setText(this.verdict.querySelector('h2'), verdict.head);
    setAttr(this.verdict, 'data-comparable', String(verdict.comparable));
    const lines = [...verdict.lines, ...spread.map((text) => ({ text }))];
    const list = this.verdict.querySelector('ul');
    const key = JSON.stringify(lines);
    if (this.linesKey === key) return;
    this.linesKey = key;
    put(
      list,
      lines.map(({ same, text }) =>
        h(
          'li',
          { class: same == null ? 'spread' : same ? 'same' : 'differs' },
          h('i', { 'aria-hidden': 'true' }, same == null ? '±' : same ? '=' : '≠'),
          h('span', null, text),
        ),
      ),
    );
  }
}
