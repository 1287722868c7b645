// The Runs page: a searchable list of every run in the folder, with actions. It is only refreshed
// while it is shown.

import * as address from '../core/address.js';
import { h, num, setAttr, setText } from '../core/dom.js';
import { requestJson } from '../core/server.js';
import { RunRow, stateName } from './run_row.js';
import { SweepView } from './sweep.js';
import { SweepList } from './sweep_list.js';

/** @import { Changes, PanelState } from '../core/types.js' */

const PERIOD_MS = 2000;

/** The Runs page. */
export class Runs {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {string} hooks.base
   * @param {string} hooks.plotly Address of Plotly.
   * @param {() => void} hooks.openStudio Goes to the Studio.
   * @param {(names: string[]) => void} hooks.openComparison Goes to the comparison of those runs.
   * @param {(changes: Changes) => void} hooks.inspect Goes to a run on the Inspect page.
   * @param {(changes: Changes) => void} hooks.go Changes what this page shows.
   */
  constructor(view, { base, plotly, openStudio, openComparison, inspect, go }) {
    this.base = base;
    this.openStudio = openStudio;
    this.openComparison = openComparison;
    this.markedRuns = [];
    this.visible = false;
    this.etag = '';
    this.rows = new Map();
    this.runs = [];
    /** @type {HTMLElement} */
    this.root = view.querySelector('main.runs');
    /** @type {HTMLInputElement} */
    this.search = this.root.querySelector('[type=search]');
    /** @type {HTMLElement} */
    this.count = this.root.querySelector('.count');
    /** @type {HTMLInputElement} */
    this.fileInput = this.root.querySelector('.file');
    /** @type {HTMLButtonElement} */
    this.openFileButton = this.root.querySelector('.open-file');
    /** @type {HTMLButtonElement} */
    this.compareButton = this.root.querySelector('.compare-runs');
    /** @type {HTMLElement} */
    this.notices = this.root.querySelector('.notices');
    /** @type {HTMLElement} */
    this.emptyState = this.root.querySelector('.none');
    /** @type {HTMLElement} */
    this.list = this.root.querySelector('.run-list');
    this.sweepList = new SweepList(this.root, { base, go });
    this.sweep = new SweepView(this.root, { base, plotly, inspect, go });
    this.search.addEventListener('input', () => this.#filter());
    this.compareButton.addEventListener('click', () => this.openComparison(this.markedRuns));
    this.openFileButton.addEventListener('click', () => this.fileInput.click());
    this.fileInput.addEventListener('change', () => this.#openFile());
    document.addEventListener('visibilitychange', () => this.#refreshSoon(0));
  }

  /**
   * Enters or leaves the page.
   * @param {boolean} visible
   */
  setVisible(visible) {
    this.visible = visible;
    const sweep = visible ? address.read('runs').sweep : null;
    this.root.classList.toggle('with-sweep', !!sweep);
    this.sweep.show(sweep);
    this.sweepList.setVisible(visible && !sweep);
    if (visible) this.#refreshSoon(0);
  }

  /**
   * Refreshes soon if the Studio's run or its phase has changed.
   * @param {PanelState} state With the live snapshot.
   */
  draw({ snapshot: snap }) {
    const studioKey = `${snap.run} ${snap.phase}`;
    if (this.studioKey !== studioKey) {
      this.studioKey = studioKey;
      this.#refreshSoon(300);
    }
  }

  #refreshSoon(wait) {
    clearTimeout(this.timer);
    if (this.visible && !this.sweep.name && document.visibilityState === 'visible')
      this.timer = setTimeout(() => this.refresh(), wait);
  }

  /**
   * Fetches the list.
   * @returns {Promise<void>}
   */
  async refresh() {
    try {
      const response = await fetch(`${this.base}/kg/runs`, {
        headers: this.etag ? { 'If-None-Match': this.etag } : {},
        cache: 'no-store',
        signal: AbortSignal.timeout(10_000),
      });
      if (response.status !== 304 && !response.ok) throw new TypeError(`status ${response.status}`);
      if (response.status !== 304) {
        this.etag = response.headers.get('ETag') ?? '';
        this.runs = (await response.json()).runs;
        this.#drawList();
      }
    } catch (error) {
      if (error.name !== 'TimeoutError' && !(error instanceof TypeError)) throw error;
    } finally {
      // the status line says that the server is not responding
      this.#refreshSoon(PERIOD_MS);
    }
  }

  /**
   * Draws the list. A run keeps its row element as long as it keeps its name, so that focus and
   * unsaved text survive.
   */
  #drawList() {
    const names = new Set(this.runs.map((run) => run.name));
    for (const [name, row] of this.rows)
      if (!names.has(name)) {
        row.root.remove();
        this.rows.delete(name);
        this.setMarked(name, false);
      }
    this.runs.forEach((run, index) => {
      if (!this.rows.has(run.name)) this.rows.set(run.name, new RunRow(run.name, this));
      const row = this.rows.get(run.name);
      row.draw(run);
      if (this.list.children[index] !== row.root)
        this.list.insertBefore(row.root, this.list.children[index] ?? null);
    });
    this.#filter();
  }

  #filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const run of this.runs) {
      const text =
        `${run.name} ${run.title} ${run.recipe} ${run.teacher} ${run.note} ${stateName(run.state)}`.toLowerCase();
      const matches = words.every((word) => text.includes(word));
      count += Number(matches);
      setAttr(this.rows.get(run.name).root, 'hidden', !matches);
    }
    const all = this.runs.length;
    setText(
      this.count,
      words.length ? `${num(count)} of ${num(all)} runs` : all === 1 ? '1 run' : `${num(all)} runs`,
    );
    setText(
      this.emptyState,
      all
        ? 'No runs match these words in their name, recipe, teacher, or note.'
        : 'No runs yet. Start one in the Studio, or open a file from elsewhere.',
    );
    setAttr(this.emptyState, 'hidden', count > 0);
  }

  /**
   * Marks a run for comparison, or removes the mark. At most four runs stay marked, in the order in
   * which they were marked.
   * @param {string} name
   * @param {boolean} isMarked
   */
  setMarked(name, isMarked) {
    this.markedRuns = [
      ...this.markedRuns.filter((other) => other !== name),
      ...(isMarked ? [name] : []),
    ].slice(-4);
    for (const row of this.rows.values()) row.setMarked(this.markedRuns.includes(row.name));
    setAttr(this.compareButton, 'hidden', !this.markedRuns.length);
    setText(
      this.compareButton,
      this.markedRuns.length > 1 ? `Compare ${this.markedRuns.length} runs` : 'Compare with…',
    );
  }

  /**
   * Posts to the server and fetches the list again. Throws an Error with a one-sentence message.
   * @param {string} address
   * @param {Blob | object} [body]
   * @returns {Promise<string>} The run in the response.
   */
  async post(address, body) {
    const { run } = await requestJson(`${this.base}/kg/${address}`, {
      method: 'POST',
      body: body instanceof Blob ? body : JSON.stringify(body ?? {}),
    });
    await this.refresh();
    return run;
  }

  /**
   * Puts a notice above the list.
   * @param {string} text
   * @param {[string, () => Promise<void>]} [action] Label, and what to do.
   */
  notice(text, action) {
    const closeButton = h(
      'button',
      { type: 'button', class: 'link', onclick: () => box.remove() },
      'Close',
    );
    const actionButton =
      action &&
      h(
        'button',
        {
          type: 'button',
          class: 'btn small',
          onclick: async () => {
            actionButton.disabled = true;
            try {
              await action[1]();
              box.remove();
            } catch (error) {
              setText(box.firstChild, error.message);
              actionButton.disabled = false;
            }
          },
        },
        action[0],
      );
    const box = h('div', { class: 'notice' }, h('span', null, text), actionButton, closeButton);
    this.notices.prepend(box);
    (actionButton ?? closeButton).focus();
  }

  /**
   * Reports that a run was deleted, and offers to undo that as long as this page is open.
   * @param {string} name
   * @param {string} trashed
   */
  deleted(name, trashed) {
    this.notice(`Deleted ${name}.`, [
      'Undo',
      async () => this.reveal(await this.post('undo', { trashed })),
    ]);
  }

  /**
   * Clears the search and scrolls to a run.
   * @param {string} name
   */
  reveal(name) {
    this.search.value = '';
    this.#filter();
    this.rows.get(name)?.reveal();
  }

  async #openFile() {
    const [file] = this.fileInput.files;
    if (!file) return;
    setAttr(this.openFileButton, 'disabled', true);
    setText(this.openFileButton, 'Opening…');
    try {
      this.reveal(await this.post('bundle', file));
    } catch (error) {
      this.notice(`${file.name}: ${error.message}`);
    }
    this.fileInput.value = '';
    setAttr(this.openFileButton, 'disabled', false);
    setText(this.openFileButton, 'Open file…');
  }
}
