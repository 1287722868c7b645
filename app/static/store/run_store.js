// A run as the Inspect page reads it: its overview, and pieces that never change, asked for once.

import { factsOf, slots } from '../setup/class_picker.js';

const KEPT = 60;
const AT_ONCE = 3;

export async function ask(url) {
  let answer;
  try {
    answer = await fetch(url, { signal: AbortSignal.timeout(30_000) });
  } catch {
    throw new Error('The server does not answer.');
  }
  if (!answer.ok)
    throw new Error((await answer.text()).slice(0, 300) || `The server answers ${answer.status}.`);
  return answer.json();
}

export class Book {
  /** `over`: the answer of /kg/inspect/NAME; `changed` is called when names have come. */
  constructor(base, over, changed) {
    Object.assign(this, {
      base,
      over,
      changed,
      held: new Map(),
      samples: new Map(),
      names: new Map(),
      colours: slots(over.class_indices),
    });
    this.mark = Book.mark(over);
  }

  static mark = (over) => `${over.run} ${over.id} ${over.attempt}`;

  address(path, query = '') {
    const { run, attempt, id } = this.over;
    return `${this.base}/kg/inspect/${encodeURIComponent(run)}/${attempt}/${path}?id=${encodeURIComponent(id)}${query}`;
  }

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

  /** A class's images so far; `grow()` reads the rest. */
  of(c) {
    if (!this.samples.has(c)) this.samples.set(c, new Samples(this, c));
    return this.samples.get(c);
  }

  /** Name of the teacher's class with that index, chosen or not. */
  nameOf(index) {
    return this.#named(this.over.teacher.name, this.over.class_indices, index);
  }

  /** Name of the judge's class with that index. */
  judgedName(index) {
    return this.#named(this.over.judge.name, this.over.judge.indices, index);
  }

  /** `chosen`: the run's classes among those of the network; names of others are asked for once. */
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
 * Columns of a class's images, in the order of their making, and the contact sheets that they are
 * on.
 */
class Samples {
  constructor(book, c) {
    Object.assign(this, {
      book,
      c,
      done: 0,
      n: 0,
      columns: { it: [], pos: [] },
      sheets: [],
      place: [],
      means: new Map(),
      lost: [],
    });
  }

  get total() {
    return this.book.over.done;
  }

  /** Reads what is missing; `step` is called after each piece. One reader at a time. */
  grow(step) {
    this.reading ??= this.#read(step).finally(() => {
      this.reading = null;
    });
    return this.reading;
  }

  async #read(step) {
    const { span } = this.book.over;
    while (this.done < this.total) {
      const wanted = [];
      for (let first = this.done; first < this.total && wanted.length < AT_ONCE;) {
        const end = Math.min(this.total, (Math.floor(first / span) + 1) * span);
        wanted.push([first, end]);
        first = end;
      }
      for (const piece of await Promise.all(
        wanted.map(([first, end]) => ask(this.book.address(`class/${this.c}/${first}/${end}`))),
      ))
        this.#add(piece);
      step();
    }
  }

  #add(piece) {
    const { first, end, cell, columns, rows, means, lost, ...values } = piece;
    const n = piece.it.length;
    for (const name of new Set([...Object.keys(this.columns), ...Object.keys(values)])) {
      // a piece may lack a term that another has
      const column = (this.columns[name] ??= new Array(this.n).fill(null));
      const found = values[name];
      for (let i = 0; i < n; i++) column.push(found ? found[i] : null);
    }
    for (let i = 0; i < n; i++) this.place.push({ sheet: this.sheets.length, at: i });
    this.sheets.push({
      url: this.book.address(`sheet/${this.c}/${first}/${end}`),
      cell,
      columns,
      rows,
    });
    this.lost.push(...lost);
    for (const mean of means) this.#mean(mean);
    Object.assign(this, { n: this.n + n, done: end });
  }

  /** Means of pieces add up: 256ths of a grey value, little-endian. */
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

  find(it, pos) {
    return this.columns.it.findIndex((v, i) => v === it && this.columns.pos[i] === pos);
  }
}
