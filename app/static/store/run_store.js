// The Inspect page's data of a run: its overview, and immutable pieces that are fetched once each.

import { requestJson } from '../core/server.js';
import { fetchFacts } from '../setup/class_picker.js';
import { slots } from './slots.js';

/** @import { Overview } from '../core/types.js' */

const MAX_PIECES = 60;
const MAX_REQUESTS = 3;

/**
 * Fetches JSON. Throws a ServerError.
 * @param {string} url
 * @returns {Promise<any>}
 */
export const fetchJson = (url) => requestJson(url, { signal: AbortSignal.timeout(30_000) });

/** The Inspect page's data of a run. */
export class RunStore {
  /**
   * @param {string} base
   * @param {Overview} overview
   * @param {() => void} onChange Called when names have arrived.
   */
  constructor(base, overview, onChange) {
    this.base = base;
    this.overview = overview;
    this.onChange = onChange;
    this.pieces = new Map();
    this.samples = new Map();
    this.names = new Map();
    this.colorSlots = slots(overview.class_indices);
    this.attemptKey = RunStore.attemptKey(overview);
  }

  /**
   * Identifies one attempt of a run.
   * @param {Overview} overview
   * @returns {string}
   */
  static attemptKey = (overview) => `${overview.run} ${overview.id} ${overview.attempt}`;

  /**
   * Computes the address of a piece.
   * @param {string} path
   * @param {string} [query]
   * @returns {string}
   */
  url(path, query = '') {
    const { run, attempt, id } = this.overview;
    return `${this.base}/kg/inspect/${encodeURIComponent(run)}/${attempt}/${path}?id=${encodeURIComponent(id)}${query}`;
  }

  /**
   * Fetches a piece, once.
   * @param {string} path
   * @returns {Promise<any>}
   */
  get(path) {
    const piece = this.pieces.get(path) ?? fetchJson(this.url(path));
    this.pieces.delete(path);
    this.pieces.set(path, piece);
    piece.catch(() => this.pieces.delete(path));
    for (const oldest of this.pieces.keys()) {
      if (this.pieces.size <= MAX_PIECES) break;
      this.pieces.delete(oldest);
    }
    return piece;
  }

  /**
   * The images of a class loaded so far. `load()` fetches the rest.
   * @param {number} c
   * @returns {Samples}
   */
  samplesOf(c) {
    if (!this.samples.has(c)) this.samples.set(c, new Samples(this, c));
    return this.samples.get(c);
  }

  /**
   * Names a class of the teacher, whether or not it was selected.
   * @param {number} index
   * @returns {string}
   */
  nameOf(index) {
    return this.#nameIn(this.overview.teacher.name, this.overview.class_indices, index);
  }

  /**
   * Names a class of the judge.
   * @param {number} index
   * @returns {string}
   */
  judgeNameOf(index) {
    return this.#nameIn(this.overview.judge.name, this.overview.judge.indices, index);
  }

  /** Names a class of a network. Names of classes that the run does not use are fetched once. */
  #nameIn(network, runIndices, index) {
    const c = runIndices.indexOf(index);
    if (c >= 0) return this.overview.classes[c];
    if (!this.names.has(network)) {
      this.names.set(network, null);
      fetchFacts(this.base, network).then(
        (facts) => {
          this.names.set(network, facts.classes);
          this.onChange();
        },
        () => {},
      );
    }
    return this.names.get(network)?.[index] ?? `class ${index}`;
  }
}

/**
 * The columns and contact sheets of a class's images, in the order in which they were made.
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
    this.positions = [];
    this.means = new Map();
    this.lost = [];
  }

  /**
   * Iterations of the run so far.
   * @returns {number}
   */
  get total() {
    return this.store.overview.done;
  }

  /**
   * Loads what is missing. Only one load runs at a time.
   * @param {() => void} onProgress Called after each piece.
   * @returns {Promise<void>}
   */
  load(onProgress) {
    this.loading ??= this.#load(onProgress).finally(() => {
      this.loading = null;
    });
    return this.loading;
  }

  async #load(onProgress) {
    const { span } = this.store.overview;
    while (this.done < this.total) {
      const ranges = [];
      for (let first = this.done; first < this.total && ranges.length < MAX_REQUESTS;) {
        const end = Math.min(this.total, (Math.floor(first / span) + 1) * span);
        ranges.push([first, end]);
        first = end;
      }
      for (const piece of await Promise.all(
        ranges.map(([first, end]) => fetchJson(this.store.url(`class/${this.c}/${first}/${end}`))),
      ))
        this.#add(piece);
      onProgress();
    }
  }

  #add(piece) {
    const { first, end, cell, columns, rows, means, lost, ...values } = piece;
    const n = piece.it.length;
    for (const name of new Set([...Object.keys(this.columns), ...Object.keys(values)])) {
      // a term may be missing in some pieces
      const column = (this.columns[name] ??= new Array(this.n).fill(null));
      const found = values[name];
      for (let i = 0; i < n; i++) column.push(found ? found[i] : null);
    }
    for (let i = 0; i < n; i++) this.positions.push({ sheet: this.sheets.length, index: i });
    this.sheets.push({
      url: this.store.url(`sheet/${this.c}/${first}/${end}`),
      cell,
      columns,
      rows,
    });
    this.lost.push(...lost);
    for (const mean of means) this.#addMean(mean);
    this.n = this.n + n;
    this.done = end;
  }

  /** Adds the mean of a piece (256ths of a gray value, little-endian) to the total. */
  #addMean({ side, small, channels, n, data }) {
    const bytes = Uint8Array.from(atob(data), (ch) => ch.charCodeAt(0));
    const values = new Uint16Array(bytes.buffer);
    const key = `${side} ${channels}`;
    const total = this.means.get(key) ?? {
      side,
      small,
      channels,
      n: 0,
      sum: new Float64Array(values.length),
    };
    values.forEach((v, i) => {
      total.sum[i] += (v / 256) * n;
    });
    total.n += n;
    this.means.set(key, total);
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
