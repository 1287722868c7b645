// The class picker: a teacher's classes as chips, with search, paste and random selection. Its
// value is {teacher, chosen}, set by Python and changed by people. Facts about a teacher (class
// names, resolutions, card) are fetched once and cached.

import { h, num, setChildren, setText } from '../core/dom.js';
import { SLOTS, slots } from '../store/slots.js';

/** @import { Facts, PickerPage } from '../core/types.js' */

export { slots };

const MAX_CHIPS = 120; // drawn at once; people search longer lists rather than scroll them

const factsCache = new Map();

/**
 * Fetches what the server knows about a teacher, once.
 * @param {string} base
 * @param {string} teacher
 * @returns {Promise<Facts>}
 */
export async function fetchFacts(base, teacher) {
  if (!factsCache.has(teacher)) {
    factsCache.set(
      teacher,
      fetch(`${base}/kg/teacher/${encodeURIComponent(teacher)}`).then((r) => {
        if (!r.ok) throw new Error(`status ${r.status}`);
        return r.json();
      }),
    );
    factsCache.get(teacher).catch(() => factsCache.delete(teacher));
  }
  return factsCache.get(teacher);
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

const normalize = (name) => name.toLowerCase().replace(/[_-]/g, ' ').replace(/\s+/g, ' ').trim();

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
    this.selectedIndices = new Set();
    this.order = [];
    this.query = '';
    this.search = h('input', {
      type: 'search',
      placeholder: 'Find a class, or paste a list',
      'aria-label': 'Find a class, or paste a list of names',
      autocomplete: 'off',
    });
    this.list = h('div', { class: 'wrap', role: 'group', 'aria-label': 'Classes' });
    this.message = h('p', { class: 'small muted', role: 'status' });
    setChildren(element, h('div', { class: 'find' }, this.search), this.list, this.message);
    this.search.addEventListener('input', () => {
      this.query = this.search.value;
      this.draw();
    });
    this.search.addEventListener('paste', (e) => this.#paste(e));
    this.search.addEventListener('keydown', (e) => {
      if (e.key === 'Enter') this.#applyQuery();
    });
    this.list.addEventListener('change', (e) => this.#toggle(e.target));
    document.getElementById('kg-setup').addEventListener('click', (e) => {
      const target = /** @type {HTMLElement} */ (e.target);
      if (target.closest('[data-all]')) this.#setSelected(this.#matches(), true);
      if (target.closest('[data-none]')) this.#setSelected(this.#matches(), false);
      if (target.closest('[data-ten]')) this.#random();
    });
    page.watch(() => this.update());
    this.update();
  }

  /**
   * Reads the value that Python has set.
   * @returns {Promise<void>}
   */
  async update() {
    const { teacher } = this.page.value() ?? {};
    if (!teacher) return;
    let facts;
    try {
      facts = await fetchFacts(this.page.base, teacher);
    } catch {
      setText(this.message, 'Could not load this teacher’s class names. Reload the page.');
      return;
    }
    if (this.page.value()?.teacher !== teacher) return; // the teacher has changed
    const isNewTeacher = this.teacher !== teacher;
    // the selection may have changed while the names were loading
    const { chosen } = this.page.value();
    this.teacher = teacher;
    this.facts = facts;
    this.names = facts.classes;
    this.selectedIndices = new Set(chosen);
    if (isNewTeacher) {
      this.search.value = this.query = '';
      setText(this.message, '');
      this.#sort();
    }
    globalThis.kgOffer = { sides: facts.sides, small: facts.small, full: facts.full };
    this.draw();
    document.dispatchEvent(new CustomEvent('kg-teacher', { detail: facts }));
  }

  /**
   * Moves selected classes to the front of a long list. The order only changes when the list opens,
   * so that nothing moves under the pointer.
   */
  #sort() {
    const all = this.names.map((_, i) => i);
    this.order =
      all.length <= MAX_CHIPS
        ? all
        : [
            ...all.filter((i) => this.selectedIndices.has(this.names[i])),
            ...all.filter((i) => !this.selectedIndices.has(this.names[i])),
          ];
  }

  #matches() {
    const query = normalize(this.query);
    return query ? this.order.filter((i) => normalize(this.names[i]).includes(query)) : this.order;
  }

  /** Draws the classes that match the search. */
  draw() {
    const matches = this.#matches();
    const visible = matches.slice(0, MAX_CHIPS);
    const selectedIndices = this.names.flatMap((name, i) =>
      this.selectedIndices.has(name) ? [i] : [],
    );
    const slot = new Map(slots(selectedIndices).map((s, k) => [selectedIndices[k], s]));
    setChildren(
      this.list,
      visible.map((i) =>
        h(
          'label',
          { title: this.names[i], style: { '--c': `var(--c${slot.get(i) ?? i % SLOTS})` } },
          h('input', {
            type: 'checkbox',
            value: i,
            checked: this.selectedIndices.has(this.names[i]),
            disabled: this.locked,
          }),
          h('span', null, this.names[i]),
        ),
      ),
      matches.length > visible.length
        ? h(
            'p',
            { class: 'small muted more' },
            `and ${num(matches.length - visible.length)} more. Use search to find them.`,
          )
        : null,
      matches.length ? null : h('p', { class: 'small muted more' }, 'No matching class.'),
    );
    setText(
      document.getElementById('kg-chosen'),
      `${num(this.selectedIndices.size)} of ${num(this.names.length)}`,
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

  #toggle(box) {
    const name = this.names[box.value];
    if (box.checked) this.selectedIndices.add(name);
    else this.selectedIndices.delete(name);
    this.#commit();
    /** @type {HTMLInputElement | null} */
    const redrawn = this.list.querySelector(`input[value="${box.value}"]`);
    redrawn?.focus(); // the chips were redrawn
  }

  #setSelected(indices, selected) {
    if (this.locked) return;
    setText(this.message, '');
    for (const i of indices) {
      if (selected) this.selectedIndices.add(this.names[i]);
      else this.selectedIndices.delete(this.names[i]);
    }
    this.#commit();
  }

  /**
   * Handles Enter: toggles the class if only one matches. A list of names selects those classes.
   */
  #applyQuery() {
    const names = split(this.query);
    if (names.length > 1) return void this.#selectNames(names);
    const matches = this.#matches();
    const exact = matches.filter((i) => normalize(this.names[i]) === normalize(this.query));
    const [i] = exact.length ? exact : matches;
    if (i == null || this.locked || (matches.length > 1 && !exact.length)) return;
    this.#setSelected([i], !this.selectedIndices.has(this.names[i]));
    this.search.select();
  }

  #random() {
    if (this.locked) return;
    setText(this.message, '');
    const indices = this.names.map((_, i) => i);
    for (let k = 0; k < SLOTS; k++) {
      const other = k + Math.floor(Math.random() * (indices.length - k));
      [indices[k], indices[other]] = [indices[other], indices[k]];
    }
    this.selectedIndices = new Set(
      indices
        .slice(0, SLOTS)
        .sort((a, b) => a - b)
        .map((i) => this.names[i]),
    );
    this.#sort();
    this.#commit();
  }

  /** Selects exactly the pasted classes, and reports the unknown names. */
  #paste(event) {
    const names = split(event.clipboardData?.getData('text') ?? '');
    if (names.length < 2 || this.locked) return; // one name is a search
    event.preventDefault();
    this.#selectNames(names);
  }

  #selectNames(names) {
    const index = new Map(this.names.map((name, i) => [normalize(name), i]));
    const indices = names.map((name) => index.get(normalize(name)));
    const unknownNames = names.filter((_, k) => indices[k] == null);
    const selectedIndices = indices.filter((i) => i != null);
    if (selectedIndices.length) {
      this.selectedIndices = new Set(selectedIndices.map((i) => this.names[i]));
      this.#sort();
      this.#commit();
    }
    setText(
      this.message,
      `${num(selectedIndices.length)} of ${num(names.length)} classes selected.${unknownNames.length ? ` Unknown to this teacher: ${unknownNames.slice(0, 4).join(', ')}${unknownNames.length > 4 ? ', …' : '.'}` : ''}`,
    );
  }

  #commit() {
    this.draw();
    this.page.set({
      teacher: this.teacher,
      chosen: this.names.filter((name) => this.selectedIndices.has(name)),
    });
  }
}

/**
 * Mounts the picker. It is stored on the window because this module is loaded twice: Gradio imports
 * it by a URL with a version, and the other modules by one without.
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
