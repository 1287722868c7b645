// The Compare page: up to four runs side by side, aligned by budget, time or step. The address
// holds the runs, the axis and the moment.

import * as address from '../core/address.js';
import { close } from '../core/dialog.js';
import { Differences } from './differences.js';
import { setAttr, setText } from '../core/dom.js';
import { CompareImages } from './compare_images.js';
import { Overlay, words } from '../charts/overlay.js';
import { RunCards } from './run_cards.js';
import { Verdict } from './verdict.js';

/** @import { Axis, Comparison, Panel, Place, Shown } from '../core/types.js' */

const PERIOD = 1500;
const STEPS = 200;
/** @type {Record<Axis, Place['column']>} */
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
    const choose = (names) => names.join() !== this.names.join() && this.go(names);
    /** @type {Panel<Shown<Comparison, null, null>>[]} */
    this.about = [
      new RunCards(this.root.querySelector('.c-runs'), { base, choose }),
      new Verdict(this.root),
    ];
    /** @type {Panel<Shown<Comparison, Place, null>>[]} */
    this.panels = [
      new CompareImages(this.root.querySelector('.c-pictures'), base),
      new Overlay(this.root.querySelector('.c-curves'), (x) => this.#move(x)),
      new Differences(this.table, base),
    ];
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
   * @param {Shown} shown With the live snapshot.
   */
  draw({ snapshot: snap }) {
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

  #draw() {
    if (!this.on) return;
    const runs = this.told?.runs ?? this.names.map((name, i) => ({ letter: 'ABCD'[i], name }));
    const ready = runs
      .filter((run) => run.key)
      .map((run) => ({
        ...run,
        i: 'ABCD'.indexOf(run.letter),
        columns: this.columns.get(run.name),
      }))
      .filter((run) => run.columns);
    const snapshot = { told: this.told, runs, ready };
    for (const panel of this.about) panel.draw({ snapshot, moment: null, selection: null });
    for (const node of [this.align, this.board]) setAttr(node, 'hidden', !ready.length);
    setAttr(this.table, 'hidden', !this.told?.table);
    if (!ready.length) return;
    const column = AXES[this.by];
    this.max = Math.max(
      1,
      ...ready.map((run) => run.columns.end[['pixels', 't', 'step'].indexOf(column)]),
    );
    const x = Math.min(this.point ?? this.max, this.max);
    const told = words(this.by, x, ready);
    for (const input of this.#radios()) input.checked = input.value === this.by;
    if (document.activeElement !== this.slider || this.point == null)
      this.slider.value = String(Math.round((STEPS * x) / this.max));
    setAttr(this.slider, 'aria-valuetext', told);
    setText(this.said, told);
    setAttr(this.newest, 'hidden', this.point == null);
    const moment = { by: this.by, column, x, max: this.max };
    for (const panel of this.panels) panel.draw({ snapshot, moment, selection: null });
  }

  /** @returns {NodeListOf<HTMLInputElement>} */
  #radios() {
    return this.align.querySelectorAll('input[type=radio]');
  }
}
