// The class picker: a teacher's classes as chips, with search, paste and random selection. Its
// value is {teacher, chosen}; Python sets it and a person changes it. A teacher's facts (names,
// resolutions, card) are fetched once and cached.

import { h, num, put, setText } from '../core/dom.js';
import { SLOTS, slots } from '../store/slots.js';

/** @import { Facts, PickerPage } from '../core/types.js' */

export { slots };

const SHOWN = 120; // chips drawn at once; a list of a thousand is for searching, not scrolling

const facts = new Map();

/**
 * Fetches what the server knows about a teacher, once.
 * @param {string} base
 * @param {string} teacher
 * @returns {Promise<Facts>}
 */
export async function factsOf(base, teacher) {
  if (!facts.has(teacher)) {
    facts.set(
      teacher,
      fetch(`${base}/kg/teacher/${encodeURIComponent(teacher)}`).then((r) => {
        if (!r.ok) throw new Error(`status ${r.status}`);
        return r.json();
      }),
    );
    facts.get(teacher).catch(() => facts.delete(teacher));
  }
  return facts.get(teacher);
}

/**
 * Splits pasted text into names: one per line, or separated by commas or semicolons.
 * @param {string} text
 * @returns {string[]}
 */
export const split = (text) =>
  text
    .split(/[\n,;]+/)
    .map((name) => name.trim().replace(/^["']|["']$/g, ''))
    .filter(Boolean);

const plain = (name) => name.toLowerCase().replace(/[_-]/g, ' ').replace(/\s+/g, ' ').trim();

/** The class picker. */
class Picker {
  /**
   * @param {HTMLElement} element
   * @param {PickerPage} page
   */
  constructor(element, page) {
    this.element = element;
    this.page = page;
    this.names = [];
    this.chosen = new Set();
    this.order = [];
    this.query = '';
    this.search = h('input', {
      type: 'search',
      placeholder: 'Find a class, or paste a list',
      'aria-label': 'Find a class, or paste a list of names',
      autocomplete: 'off',
    });
    this.list = h('div', { class: 'wrap', role: 'group', 'aria-label': 'Classes' });
    this.said = h('p', { class: 'small muted', role: 'status' });
    put(element, h('div', { class: 'find' }, this.search), this.list, this.said);
    this.search.addEventListener('input', () => {
      this.query = this.search.value;
      this.draw();
    });
    this.search.addEventListener('paste', (e) => this.#paste(e));
    this.search.addEventListener('keydown', (e) => {
      if (e.key === 'Enter') this.#only();
    });
    this.list.addEventListener('change', (e) => this.#flip(e.target));
    document.getElementById('kg-setup').addEventListener('click', (e) => {
      const target = /** @type {HTMLElement} */ (e.target);
      if (target.closest('[data-all]')) this.#choose(this.#matches(), true);
      if (target.closest('[data-none]')) this.#choose(this.#matches(), false);
      if (target.closest('[data-ten]')) this.#random();
    });
    page.watch(() => this.take());
    this.take();
  }

  /**
   * Takes the value that Python has set.
   * @returns {Promise<void>}
   */
  async take() {
    const { teacher } = this.page.value() ?? {};
    if (!teacher) return;
    let found;
    try {
      found = await factsOf(this.page.base, teacher);
    } catch {
      setText(this.said, 'Could not load this teacher’s class names. Reload the page.');
      return;
    }
    if (this.page.value()?.teacher !== teacher) return; // the teacher has changed
    const other = this.teacher !== teacher;
    // the selection may have changed while the names were loading
    const { chosen } = this.page.value();
    this.teacher = teacher;
    this.facts = found;
    this.names = found.classes;
    this.chosen = new Set(chosen);
    if (other) {
      this.search.value = this.query = '';
      setText(this.said, '');
      this.#sort();
    }
    globalThis.kgOffer = { sides: found.sides, small: found.small, full: found.full };
    this.draw();
    document.dispatchEvent(new CustomEvent('kg-teacher', { detail: found }));
  }

  /**
   * Puts selected classes first in a long list. The order is fixed when the list opens, so that
   * nothing jumps under the pointer.
   */
  #sort() {
    const all = this.names.map((_, i) => i);
    this.order =
      all.length <= SHOWN
        ? all
        : [
            ...all.filter((i) => this.chosen.has(this.names[i])),
            ...all.filter((i) => !this.chosen.has(this.names[i])),
          ];
  }

  #matches() {
    const wanted = plain(this.query);
    return wanted ? this.order.filter((i) => plain(this.names[i]).includes(wanted)) : this.order;
  }

  /** Draws the classes that match the search. */
  draw() {
    const found = this.#matches();
    const shown = found.slice(0, SHOWN);
    const picked = this.names.flatMap((name, i) => (this.chosen.has(name) ? [i] : []));
    const slot = new Map(slots(picked).map((s, k) => [picked[k], s]));
    put(
      this.list,
      shown.map((i) =>
        h(
          'label',
          { title: this.names[i], style: { '--c': `var(--c${slot.get(i) ?? i % SLOTS})` } },
          h('input', {
            type: 'checkbox',
            value: i,
            checked: this.chosen.has(this.names[i]),
            disabled: this.locked,
          }),
          h('span', null, this.names[i]),
        ),
      ),
      found.length > shown.length
        ? h(
            'p',
            { class: 'small muted more' },
            `and ${num(found.length - shown.length)} more. Use search to find them.`,
          )
        : null,
      found.length ? null : h('p', { class: 'small muted more' }, 'No matching class.'),
    );
    setText(
      document.getElementById('kg-chosen'),
      `${num(this.chosen.size)} of ${num(this.names.length)}`,
    );
    /** @type {HTMLElement} */
    const ten = document.querySelector('#kg-setup [data-ten]');
    ten.hidden = this.names.length <= SLOTS;
  }

  /**
   * Locks it while a run is active.
   * @param {boolean} locked
   */
  lock(locked) {
    if (this.locked === locked) return;
    this.locked = locked;
    for (const input of this.list.querySelectorAll('input')) input.disabled = locked;
  }

  #flip(box) {
    const name = this.names[box.value];
    if (box.checked) this.chosen.add(name);
    else this.chosen.delete(name);
    this.#tell();
    /** @type {HTMLInputElement | null} */
    const redrawn = this.list.querySelector(`input[value="${box.value}"]`);
    redrawn?.focus(); // the chips were redrawn
  }

  #choose(indices, on) {
    if (this.locked) return;
    setText(this.said, '');
    for (const i of indices) {
      if (on) this.chosen.add(this.names[i]);
      else this.chosen.delete(this.names[i]);
    }
    this.#tell();
  }

  /**
   * On Enter, toggles the class found if there is only one; a list selects the classes it names.
   */
  #only() {
    const given = split(this.query);
    if (given.length > 1) return void this.#exactly(given);
    const found = this.#matches();
    const exact = found.filter((i) => plain(this.names[i]) === plain(this.query));
    const [i] = exact.length ? exact : found;
    if (i == null || this.locked || (found.length > 1 && !exact.length)) return;
    this.#choose([i], !this.chosen.has(this.names[i]));
    this.search.select();
  }

  #random() {
    if (this.locked) return;
    setText(this.said, '');
    const left = this.names.map((_, i) => i);
    for (let k = 0; k < SLOTS; k++) {
      const at = k + Math.floor(Math.random() * (left.length - k));
      [left[k], left[at]] = [left[at], left[k]];
    }
    this.chosen = new Set(
      left
        .slice(0, SLOTS)
        .sort((a, b) => a - b)
        .map((i) => this.names[i]),
    );
    this.#sort();
    this.#tell();
  }

  /** Selects exactly the pasted classes, and reports the unknown names. */
  #paste(event) {
    const given = split(event.clipboardData?.getData('text') ?? '');
    if (given.length < 2 || this.locked) return; // one name is a search
    event.preventDefault();
    this.#exactly(given);
  }

  #exactly(given) {
    const index = new Map(this.names.map((name, i) => [plain(name), i]));
    const known = given.map((name) => index.get(plain(name)));
    const unknown = given.filter((_, k) => known[k] == null);
    const chosen = known.filter((i) => i != null);
    if (chosen.length) {
      this.chosen = new Set(chosen.map((i) => this.names[i]));
      this.#sort();
      this.#tell();
    }
    setText(
      this.said,
      `${num(chosen.length)} of ${num(given.length)} classes selected.${unknown.length ? ` Unknown to this teacher: ${unknown.slice(0, 4).join(', ')}${unknown.length > 4 ? ', …' : '.'}` : ''}`,
    );
  }

  #tell() {
    this.draw();
    this.page.set({
      teacher: this.teacher,
      chosen: this.names.filter((name) => this.chosen.has(name)),
    });
  }
}

/**
 * Mounts the picker. It is stored on the window because this module exists twice: Gradio imports it
 * by an address with a version, the other modules by one without.
 * @param {HTMLElement} element
 * @param {PickerPage} page
 */
export function mount(element, page) {
  globalThis.kgPicker = new Picker(element, page);
}

/**
 * Returns the picker, once Gradio has drawn it.
 * @returns {Picker | null}
 */
export const current = () => globalThis.kgPicker ?? null;
