// The Runs page: a searchable list of every run in the folder, with actions. It is only refreshed
// while it is shown.

import { h, num, setAttr, setText } from '../core/dom.js';
import { RunRow, stateName } from './run_row.js';

/** @import { Shown } from '../core/types.js' */

const PERIOD = 2000;

/** The Runs page. */
export class Runs {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {string} hooks.base
   * @param {() => void} hooks.studio Goes to the Studio.
   * @param {(names: string[]) => void} hooks.compare Goes to the comparison of those runs.
   */
  constructor(view, { base, studio, compare }) {
    this.base = base;
    this.studio = studio;
    this.compare = compare;
    this.marked = [];
    this.on = false;
    this.etag = '';
    this.rows = new Map();
    this.runs = [];
    this.root = view.querySelector('main.runs');
    /** @type {HTMLInputElement} */
    this.search = this.root.querySelector('[type=search]');
    /** @type {HTMLElement} */
    this.count = this.root.querySelector('.count');
    /** @type {HTMLInputElement} */
    this.file = this.root.querySelector('.file');
    /** @type {HTMLButtonElement} */
    this.bring = this.root.querySelector('.bring');
    /** @type {HTMLButtonElement} */
    this.beside = this.root.querySelector('.beside');
    /** @type {HTMLElement} */
    this.notices = this.root.querySelector('.notices');
    /** @type {HTMLElement} */
    this.none = this.root.querySelector('.none');
    /** @type {HTMLElement} */
    this.list = this.root.querySelector('.run-list');
    this.search.addEventListener('input', () => this.#filter());
    this.beside.addEventListener('click', () => this.compare(this.marked));
    this.bring.addEventListener('click', () => this.file.click());
    this.file.addEventListener('change', () => this.#bring());
    document.addEventListener('visibilitychange', () => this.#again(0));
  }

  /**
   * Enters or leaves the page.
   * @param {boolean} on
   */
  turn(on) {
    this.on = on;
    if (on) this.#again(0);
  }

  /**
   * Refreshes soon if the Studio shows another run, or another phase.
   * @param {Shown} shown With the live snapshot.
   */
  draw({ snapshot: snap }) {
    const mark = `${snap.run} ${snap.phase}`;
    if (this.mark !== mark) {
      this.mark = mark;
      this.#again(300);
    }
  }

  #again(wait) {
    clearTimeout(this.timer);
    if (this.on && document.visibilityState === 'visible')
      this.timer = setTimeout(() => this.refresh(), wait);
  }

  /**
   * Fetches the list.
   * @returns {Promise<void>}
   */
  async refresh() {
    try {
      const answer = await fetch(`${this.base}/kg/runs`, {
        headers: this.etag ? { 'If-None-Match': this.etag } : {},
        cache: 'no-store',
        signal: AbortSignal.timeout(10_000),
      });
      if (answer.status !== 304 && !answer.ok) throw new TypeError(`status ${answer.status}`);
      if (answer.status !== 304) {
        this.etag = answer.headers.get('ETag') ?? '';
        this.runs = (await answer.json()).runs;
        this.#list();
      }
    } catch (error) {
      if (error.name !== 'TimeoutError' && !(error instanceof TypeError)) throw error;
    } finally {
      // the status line says that the server is not responding
      this.#again(PERIOD);
    }
  }

  /**
   * A row stays the same element as long as its run keeps its name, so that focus and text being
   * typed survive.
   */
  #list() {
    const names = new Set(this.runs.map((run) => run.name));
    for (const [name, row] of this.rows)
      if (!names.has(name)) {
        row.root.remove();
        this.rows.delete(name);
        this.choose(name, false);
      }
    this.runs.forEach((run, at) => {
      if (!this.rows.has(run.name)) this.rows.set(run.name, new RunRow(run.name, this));
      const row = this.rows.get(run.name);
      row.draw(run);
      if (this.list.children[at] !== row.root)
        this.list.insertBefore(row.root, this.list.children[at] ?? null);
    });
    this.#filter();
  }

  #filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const run of this.runs) {
      const text =
        `${run.name} ${run.title} ${run.recipe} ${run.teacher} ${run.note} ${stateName(run.state)}`.toLowerCase();
      const fits = words.every((word) => text.includes(word));
      found += Number(fits);
      setAttr(this.rows.get(run.name).root, 'hidden', !fits);
    }
    const all = this.runs.length;
    setText(
      this.count,
      words.length ? `${num(found)} of ${num(all)} runs` : all === 1 ? '1 run' : `${num(all)} runs`,
    );
    setText(
      this.none,
      all
        ? 'No runs match these words in their name, recipe, teacher or note.'
        : 'No runs yet. Start one in the Studio, or open a file from elsewhere.',
    );
    setAttr(this.none, 'hidden', found > 0);
  }

  /**
   * Marks a run for comparison, or removes the mark; at most four, in the order they were marked.
   * @param {string} name
   * @param {boolean} on
   */
  choose(name, on) {
    this.marked = [...this.marked.filter((other) => other !== name), ...(on ? [name] : [])].slice(
      -4,
    );
    for (const row of this.rows.values()) row.marked(this.marked.includes(row.name));
    setAttr(this.beside, 'hidden', !this.marked.length);
    setText(
      this.beside,
      this.marked.length > 1 ? `Compare ${this.marked.length} runs` : 'Compare with…',
    );
  }

  /**
   * Posts to the server and fetches the list again. Throws an Error with a one-sentence message.
   * @param {string} address
   * @param {Blob | object} [said]
   * @returns {Promise<string>} The run in the response.
   */
  async post(address, said) {
    let answer;
    try {
      answer = await fetch(`${this.base}/kg/${address}`, {
        method: 'POST',
        body: said instanceof Blob ? said : JSON.stringify(said ?? {}),
      });
    } catch {
      throw new Error('The server is not responding.');
    }
    if (!answer.ok) throw new Error(await answer.text());
    const { run } = await answer.json();
    await this.refresh();
    return run;
  }

  /**
   * Puts a notice above the list.
   * @param {string} text
   * @param {[string, () => Promise<void>]} [action] Label, and what to do.
   */
  notice(text, action) {
    const close = h(
      'button',
      { type: 'button', class: 'link', onclick: () => line.remove() },
      'Close',
    );
    const act =
      action &&
      h(
        'button',
        {
          type: 'button',
          class: 'btn small',
          onclick: async () => {
            act.disabled = true;
            try {
              await action[1]();
              line.remove();
            } catch (error) {
              setText(line.firstChild, error.message);
              act.disabled = false;
            }
          },
        },
        action[0],
      );
    const line = h('div', { class: 'notice' }, h('span', null, text), act, close);
    this.notices.prepend(line);
    (act ?? close).focus();
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

  async #bring() {
    const [file] = this.file.files;
    if (!file) return;
    setAttr(this.bring, 'disabled', true);
    setText(this.bring, 'Opening…');
    try {
      this.reveal(await this.post('bundle', file));
    } catch (error) {
      this.notice(`${file.name}: ${error.message}`);
    }
    this.file.value = '';
    setAttr(this.bring, 'disabled', false);
    setText(this.bring, 'Open file…');
  }
}
