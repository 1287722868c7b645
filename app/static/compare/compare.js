// The Compare page: up to four runs side by side, aligned by budget, time or step. The address
// stores the runs, the axis and the position on it.

import * as address from '../core/address.js';
import { close } from '../core/dialog.js';
import { Differences } from './differences.js';
import { setAttr, setText } from '../core/dom.js';
import { CompareImages } from './compare_images.js';
import { Overlay, describePosition } from '../charts/overlay.js';
import { RunCards } from './run_cards.js';
import { Verdict } from './verdict.js';

/** @import { Axis, Comparison, Panel, AxisPosition, PanelState } from '../core/types.js' */

const PERIOD_MS = 1500;
const STEPS = 200;
/** @type {Record<Axis, AxisPosition['column']>} */
const AXIS_COLUMNS = { budget: 'pixels', time: 't', step: 'step' };

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
    this.visible = false;
    this.names = [];
    /** @type {Axis} */
    this.axis = 'budget';
    this.point = null;
    this.response = null;
    this.columns = new Map();
    this.fetching = new Set();
    this.root = view.querySelector('main.compare');
    /** @type {HTMLElement} */
    this.axisControls = this.root.querySelector('.c-align');
    /** @type {HTMLInputElement} */
    this.slider = this.root.querySelector('[type=range]');
    /** @type {HTMLElement} */
    this.output = this.root.querySelector('output');
    /** @type {HTMLButtonElement} */
    this.newestButton = this.root.querySelector('.newest');
    /** @type {HTMLElement} */
    this.board = this.root.querySelector('.c-board');
    /** @type {HTMLElement} */
    this.table = this.root.querySelector('.c-table');
    const choose = (names) => names.join() !== this.names.join() && this.go(names);
    /** @type {Panel<PanelState<Comparison, null, null>>[]} */
    this.summaryPanels = [
      new RunCards(this.root.querySelector('.c-runs'), { base, choose }),
      new Verdict(this.root),
    ];
    /** @type {Panel<PanelState<Comparison, AxisPosition, null>>[]} */
    this.panels = [
      new CompareImages(this.root.querySelector('.c-pictures'), base),
      new Overlay(this.root.querySelector('.c-curves'), (x) => this.#moveTo(x)),
      new Differences(this.table, base),
    ];
    for (const input of this.#radios())
      input.addEventListener('change', () => {
        this.axis = /** @type {Axis} */ (input.value);
        this.point = null;
        address.write({ by: this.axis, point: null });
        this.#draw();
      });
    this.slider.addEventListener('input', () =>
      this.#moveTo(+this.slider.value >= STEPS ? null : (+this.slider.value / STEPS) * this.max),
    );
    this.newestButton.addEventListener('click', () => {
      this.#moveTo(null);
      this.slider.focus();
    });
    document.addEventListener('visibilitychange', () => this.#refreshSoon(0));
  }

  /**
   * Enters or leaves the page.
   * @param {boolean} visible
   */
  setVisible(visible) {
    this.visible = visible;
    if (!visible) return close();
    const { runs, by: axis, point } = address.read('compare');
    Object.assign(this, { names: runs, axis, point });
    if (this.response && this.response.runs.map((run) => run.name).join() !== this.names.join())
      this.response = null;
    this.etag = '';
    this.#useStudioRun();
    this.#draw();
    this.#refreshSoon(0);
  }

  /**
   * If no runs are selected, starts with the run shown in the Studio.
   */
  #useStudioRun() {
    if (!this.visible || this.names.length || !this.studioRun) return;
    this.names = [this.studioRun];
    address.write({ runs: this.names });
  }

  /**
   * Refreshes if the Studio's run has changed, because it may be one of those compared.
   * @param {PanelState} state With the live snapshot.
   */
  draw({ snapshot: snap }) {
    const studioKey = `${snap.run} ${snap.phase}`;
    this.studioRun = snap.run;
    this.#useStudioRun();
    if (this.studioKey !== studioKey) {
      this.studioKey = studioKey;
      this.#refreshSoon(300);
    }
  }

  #refreshSoon(wait) {
    clearTimeout(this.timer);
    if (this.visible && document.visibilityState === 'visible')
      this.timer = setTimeout(() => this.#refresh(), wait);
  }

  async #refresh() {
    const names = this.names.join(',');
    try {
      if (!names) return;
      const response = await fetch(`${this.base}/kg/compare?runs=${names}`, {
        headers: this.etag ? { 'If-None-Match': this.etag } : {},
        cache: 'no-store',
        signal: AbortSignal.timeout(20_000),
      });
      if (response.status === 304) return;
      if (!response.ok) throw new TypeError(`status ${response.status}`);
      const comparison = await response.json();
      if (names !== this.names.join(',')) return; // the selection has changed in the meantime
      this.etag = response.headers.get('ETag') ?? '';
      this.response = comparison;
      for (const run of comparison.runs) if (run.key) this.#fetch(run);
      this.#draw();
    } catch (error) {
      if (error.name !== 'TimeoutError' && !(error instanceof TypeError)) throw error;
    } finally {
      // the status line says that the server is not responding
      this.#refreshSoon(PERIOD_MS);
    }
  }

  /**
   * Fetches a run's columns once per key. The old ones stay on screen until the new ones arrive.
   */
  async #fetch({ name, id, key }) {
    const cacheKey = `${name} ${id} ${key}`;
    if (this.columns.get(name)?.cacheKey === cacheKey || this.fetching.has(cacheKey)) return;
    this.fetching.add(cacheKey);
    try {
      const response = await fetch(
        `${this.base}/kg/columns/${encodeURIComponent(name)}/${encodeURIComponent(key)}?id=${encodeURIComponent(id)}`,
        { signal: AbortSignal.timeout(20_000) },
      );
      if (!response.ok) throw new TypeError(`status ${response.status}`);
      this.columns.set(name, { cacheKey, ...(await response.json()) });
      this.#draw();
    } catch (error) {
      if (error.name !== 'TimeoutError' && !(error instanceof TypeError)) throw error;
      this.etag = ''; // retried at the next refresh
    } finally {
      this.fetching.delete(cacheKey);
    }
  }

  /** Moves to a position on the axis. Null is the newest. */
  #moveTo(x) {
    this.point = x == null || x >= this.max ? null : x;
    clearTimeout(this.writeTimer);
    // browsers reject too many history updates
    this.writeTimer = setTimeout(() => address.write({ point: this.point }), 200);
    this.#draw();
  }

  #draw() {
    if (!this.visible) return;
    const runs = this.response?.runs ?? this.names.map((name, i) => ({ letter: 'ABCD'[i], name }));
    const loadedRuns = runs
      .filter((run) => run.key)
      .map((run) => ({
        ...run,
        i: 'ABCD'.indexOf(run.letter),
        columns: this.columns.get(run.name),
      }))
      .filter((run) => run.columns);
    const snapshot = { response: this.response, runs, loadedRuns };
    for (const panel of this.summaryPanels) panel.draw({ snapshot, moment: null, selection: null });
    for (const node of [this.axisControls, this.board]) setAttr(node, 'hidden', !loadedRuns.length);
    setAttr(this.table, 'hidden', !this.response?.table);
    if (!loadedRuns.length) return;
    const column = AXIS_COLUMNS[this.axis];
    this.max = Math.max(
      1,
      ...loadedRuns.map((run) => run.columns.end[['pixels', 't', 'step'].indexOf(column)]),
    );
    const x = Math.min(this.point ?? this.max, this.max);
    const positionText = describePosition(this.axis, x, loadedRuns);
    for (const input of this.#radios()) input.checked = input.value === this.axis;
    if (document.activeElement !== this.slider || this.point == null)
      this.slider.value = String(Math.round((STEPS * x) / this.max));
    setAttr(this.slider, 'aria-valuetext', positionText);
    setText(this.output, positionText);
    setAttr(this.newestButton, 'hidden', this.point == null);
    const moment = { axis: this.axis, column, x, max: this.max };
    for (const panel of this.panels) panel.draw({ snapshot, moment, selection: null });
  }

  /** @returns {NodeListOf<HTMLInputElement>} */
  #radios() {
    return this.axisControls.querySelectorAll('input[type=radio]');
  }
}
