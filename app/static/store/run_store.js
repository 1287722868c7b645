// A run as the Inspect page reads it: its overview, and immutable pieces that are fetched once.

import { factsOf } from '../setup/class_picker.js';
import { slots } from './slots.js';

/** @import { Overview } from '../core/types.js' */

const KEPT = 60;
const AT_ONCE = 3;

/**
 * Fetches JSON. Throws an Error with a one-sentence message.
 * @param {string} url
 * @returns {Promise<any>}
 */
export async function ask(url) {
  let answer;
  try {
    answer = await fetch(url, { signal: AbortSignal.timeout(30_000) });
  } catch {
    throw new Error('The server is not responding.');
  }
  if (!answer.ok)
    throw new Error((await answer.text()).slice(0, 300) || `The server answers ${answer.status}.`);
  return answer.json();
}

/** A run as the Inspect page reads it. */
export class RunStore {
  /**
   * @param {string} base
   * @param {Overview} over
   * @param {() => void} changed Called when names have arrived.
   */
  constructor(base, over, changed) {
    this.base = base;
    this.over = over;
    this.changed = changed;
    this.held = new Map();
    this.samples = new Map();
    this.names = new Map();
    this.colours = slots(over.class_indices);
    this.mark = RunStore.mark(over);
  }

  /**
   * Identifies one attempt of a run.
   * @param {Overview} over
   * @returns {string}
   */
  static mark = (over) => `${over.run} ${over.id} ${over.attempt}`;

  /**
   * Computes the address of a piece.
   * @param {string} path
   * @param {string} [query]
   * @returns {string}
   */
  address(path, query = '') {
    const { run, attempt, id } = this.over;
    return `${this.base}/kg/inspect/${encodeURIComponent(run)}/${attempt}/${path}?id=${encodeURIComponent(id)}${query}`;
  }

  /**
   * Fetches a piece, once.
   * @param {string} path
   * @returns {Promise<any>}
   */
  get(path) {
    const found = this.held.get(path) ?? ask(this.address(path));
    this.held.delete(path);
    this.held.set(path, found);
    found.catch(() => this.held.delete(path));
    for (const old of this.held.keys()) {
      if (this.held.size <= KEPT) break;
      this.held.delete(old);
    }
    return found;
  }

  /**
   * A class's images so far; `grow()` loads the rest.
   * @param {number} c
   * @returns {Samples}
   */
  of(c) {
    if (!this.samples.has(c)) this.samples.set(c, new Samples(this, c));
    return this.samples.get(c);
  }

  /**
   * Names a class of the teacher, whether or not it was selected.
   * @param {number} index
   * @returns {string}
   */
  nameOf(index) {
    return this.#named(this.over.teacher.name, this.over.class_indices, index);
  }

  /**
   * Names a class of the judge.
   * @param {number} index
   * @returns {string}
   */
  judgedName(index) {
    return this.#named(this.over.judge.name, this.over.judge.indices, index);
  }

  /** `chosen`: the run's classes among those of the network; other names are fetched once. */
  #named(network, chosen, index) {
    const at = chosen.indexOf(index);
    if (at >= 0) return this.over.classes[at];
    if (!this.names.has(network)) {
      this.names.set(network, null);
      factsOf(this.base, network).then(
        (found) => {
          this.names.set(network, found.classes);
          this.changed();
        },
        () => {},
      );
    }
    return this.names.get(network)?.[index] ?? `class ${index}`;
  }
}

/**
 * Columns of a class's images, in the order in which they were made, and their contact sheets.
 */
export class Samples {
  /**
   * @param {RunStore} store
   * @param {number} c
   */
  constructor(store, c) {
    this.store = store;
    this.c = c;
    this.done = 0;
    this.n = 0;
    this.columns = { it: [], pos: [] };
    this.sheets = [];
    this.place = [];
    this.means = new Map();
    this.lost = [];
  }

  /**
   * Iterations of the run so far.
   * @returns {number}
   */
  get total() {
    return this.store.over.done;
  }

  /**
   * Loads what is missing; only one load runs at a time.
   * @param {() => void} step Called after each piece.
   * @returns {Promise<void>}
   */
  grow(step) {
    this.reading ??= this.#read(step).finally(() => {
      this.reading = null;
    });
    return this.reading;
  }

  async #read(step) {
    const { span } = this.store.over;
    while (this.done < this.total) {
      const wanted = [];
      for (let first = this.done; first < this.total && wanted.length < AT_ONCE;) {
        const end = Math.min(this.total, (Math.floor(first / span) + 1) * span);
        wanted.push([first, end]);
        first = end;
      }
      for (const piece of await Promise.all(
        wanted.map(([first, end]) => ask(this.store.address(`class/${this.c}/${first}/${end}`))),
      ))
        this.#add(piece);
      step();
    }
  }

  #add(piece) {
    const { first, end, cell, columns, rows, means, lost, ...values } = piece;
    const n = piece.it.length;
    for (const name of new Set([...Object.keys(this.columns), ...Object.keys(values)])) {
      // a piece may lack a term that another one has
      const column = (this.columns[name] ??= new Array(this.n).fill(null));
      const found = values[name];
      for (let i = 0; i < n; i++) column.push(found ? found[i] : null);
    }
    for (let i = 0; i < n; i++) this.place.push({ sheet: this.sheets.length, at: i });
    this.sheets.push({
      url: this.store.address(`sheet/${this.c}/${first}/${end}`),
      cell,
      columns,
      rows,
    });
    this.lost.push(...lost);
    for (const mean of means) this.#mean(mean);
    this.n = this.n + n;
    this.done = end;
  }

  /** Adds up the means of pieces: 256ths of a gray value, little-endian. */
  #mean({ side, small, channels, n, data }) {
    const bytes = Uint8Array.from(atob(data), (ch) => ch.charCodeAt(0));
    const values = new Uint16Array(bytes.buffer);
    const key = `${side} ${channels}`;
    const held = this.means.get(key) ?? {
      side,
      small,
      channels,
      n: 0,
      sum: new Float64Array(values.length),
    };
    values.forEach((v, i) => {
      held.sum[i] += (v / 256) * n;
    });
    held.n += n;
    this.means.set(key, held);
  }

  /**
   * Finds the row of an image.
   * @param {number} it
   * @param {number} pos
   * @returns {number} −1 if it has not arrived.
   */
  find(it, pos) {
    return this.columns.it.findIndex((v, i) => v === it && this.columns.pos[i] === pos);
  }
}
