// One class on the Inspect page: all its images, sorted and filtered, beside what class_facts.js
// says of the class as a whole.

import { h, num, pct, put, setAttr, setText } from '../core/dom.js';
import { ClassFacts } from './class_facts.js';
import { generatorTerms, inUse } from '../core/terms.js';
import { value } from '../charts/loss_strips.js';
import { VirtualGrid } from '../charts/virtual_grid.js';
import * as where from '../store/image_filter.js';

/** @import { Changes, ImagesOfClass, Shown } from '../core/types.js' */
/** @import { RunStore } from '../store/run_store.js' */

/** All images of a class, sorted and filtered, and the class as a whole. */
export class Collection {
  /**
   * @param {HTMLElement} root
   * @param {object} hooks
   * @param {(it: number, pos: number) => void} hooks.open Called when an image is selected.
   * @param {(changes: Changes) => void} hooks.change Changes what is shown, via the address.
   */
  constructor(root, { open, change }) {
    this.root = root;
    this.change = change;
    this.order = [];
    this.facts = new ClassFacts(root.querySelector('.facts'));
    /** @type {HTMLSelectElement} */
    this.sort = root.querySelector('.sort');
    /** @type {HTMLButtonElement} */
    this.way = root.querySelector('.way');
    /** @type {HTMLFormElement} */
    this.filter = root.querySelector('.filter');
    /** @type {HTMLSelectElement} */
    this.what = root.querySelector('.what');
    /** @type {HTMLInputElement} */
    this.low = root.querySelector('.low');
    /** @type {HTMLInputElement} */
    this.high = root.querySelector('.high');
    /** @type {HTMLSelectElement} */
    this.which = root.querySelector('.which');
    /** @type {HTMLElement} */
    this.chips = root.querySelector('.chips');
    /** @type {HTMLElement} */
    this.count = root.querySelector('.count');
    /** @type {HTMLButtonElement} */
    this.newer = root.querySelector('.newer');
    /** @type {HTMLAnchorElement} */
    this.png = root.querySelector('.png');
    /** @type {HTMLAnchorElement} */
    this.zip = root.querySelector('.zip');
    /** @type {HTMLElement} */
    this.range = root.querySelector('.range');
    this.grid = new VirtualGrid(root.querySelector('.wall'), {
      open: (i) => {
        const { it, pos } = this.samples.columns;
        open(it[this.order[i]], pos[this.order[i]]);
      },
      describe: (i) => this.#describe(this.order[i]),
    });
    this.sort.addEventListener('change', () =>
      this.change({ sort: this.#sorted(this.sort.value, this.sorting.down) }),
    );
    this.way.addEventListener('click', () =>
      this.change({ sort: this.#sorted(this.sorting.name, !this.sorting.down) }),
    );
    this.what.addEventListener('change', () => this.#fields());
    this.newer.addEventListener('click', () => {
      this.held = null;
      this.change({});
    });
    this.filter.addEventListener('submit', (e) => {
      e.preventDefault();
      this.#add();
    });
  }

  /**
   * Draws the class.
   * @param {Shown<RunStore, null, ImagesOfClass>} shown
   */
  draw(shown) {
    const { snapshot: store, selection } = shown;
    const { samples, sort, where: conditions } = selection;
    const other = this.samples !== samples;
    this.store = store;
    this.samples = samples;
    this.sorting = where.sorting(sort, store.over.own_terms);
    this.conditions = where.parse(conditions, store.over.own_terms);
    const terms = inUse(store.over, generatorTerms(store.over));
    if (other) this.#columns(terms);
    this.sort.value = this.sorting.name;
    setText(this.way, this.sorting.down ? 'highest first ↓' : 'lowest first ↑');
    this.#hold(`${store.mark} ${samples.c} ${sort} ${conditions}`);
    this.order = where.choose(samples.columns, this.conditions, this.sorting, this.held.n);
    const { sheets, place, columns } = samples;
    this.grid.show(
      this.order.map((i) => ({
        sheet: sheets[place[i].sheet],
        at: place[i].at,
        side: columns.side[i],
      })),
      `${this.held.key}${this.#grows() ? '' : ` ${this.held.n}`}`,
    );
    this.#chips();
    this.#count();
    this.facts.draw(shown);
  }

  /**
   * A sorted list stays put while the run continues: new images wait for a click.
   */
  #hold(key) {
    const { n, done, total } = this.samples;
    if (this.held?.key !== key || this.#grows() || !this.held.whole)
      this.held = { key, n, done, whole: done >= total };
  }

  /** Are new images only appended after those shown? */
  #grows() {
    return this.sorting.name === 'it' && !this.sorting.down;
  }

  #sorted(name, down) {
    return name === 'it' && !down ? null : `${down ? '-' : ''}${name}`;
  }

  #columns(terms) {
    const columns = where.columnsOf(terms, Boolean(this.store.over.judge));
    const sides = new Set(this.store.over.scales.map(({ side }) => side));
    const options = () =>
      columns
        .filter(({ name }) => name !== 'side' || sides.size > 1)
        .map(({ name, title }) => h('option', { value: name }, title));
    put(this.sort, options());
    put(this.what, options());
    this.what.value = 'p';
    this.#fields();
  }

  /** Two numbers for most columns; a choice for the pool and the resolution. */
  #fields() {
    const name = this.what.value;
    const choices =
      name === 'pool'
        ? [
            ['1', 'in the pool'],
            ['0', 'not in the pool'],
          ]
        : name === 'side'
          ? [...new Set(this.store.over.scales.map(({ side }) => side))].map((side) => [
              side,
              `${side} px`,
            ])
          : null;
    setAttr(this.which, 'hidden', !choices);
    setAttr(this.range, 'hidden', Boolean(choices));
    put(
      this.which,
      (choices ?? []).map(([v, label]) => h('option', { value: v }, label)),
    );
    const percent = where.columnOf(name).times ? ', %' : '';
    for (const [field, words] of /** @type {const} */ ([
      [this.low, 'at least'],
      [this.high, 'at most'],
    ])) {
      setAttr(field, 'placeholder', words + percent);
      field.value = '';
    }
  }

  #add() {
    const name = this.what.value;
    const read = (field, open) => (field.value === '' ? open : where.meant(name, +field.value));
    const [low, high] = this.which.hidden
      ? [read(this.low, -Infinity), read(this.high, Infinity)]
      : [+this.which.value, +this.which.value];
    if (low === -Infinity && high === Infinity) return void this.low.focus();
    this.#only([...this.conditions.filter((c) => c.name !== name), { name, low, high }]);
    this.low.value = this.high.value = '';
  }

  #only(conditions) {
    this.change({ where: where.format(conditions) || null });
  }

  #chips() {
    const text = where.format(this.conditions);
    if (text === this.chipped) return;
    this.chipped = text;
    put(
      this.chips,
      this.conditions.map((c, at) =>
        h(
          'button',
          {
            type: 'button',
            class: 'chip',
            'aria-label': `Remove: ${where.words(c)}`,
            onclick: () => this.#only(this.conditions.filter((_, i) => i !== at)),
          },
          where.words(c),
          ' ×',
        ),
      ),
    );
  }

  #count() {
    const { samples, order, store } = this;
    const all = this.held.n;
    const { most } = store.over;
    const whole = samples.done >= samples.total;
    const lost = samples.lost.length
      ? ` ${num(samples.lost.length)} iterations could not be read.`
      : '';
    const late = samples.n - all;
    setText(this.newer, late ? `${num(late)} new` : '');
    setAttr(this.newer, 'hidden', !late);
    setText(
      this.count,
      (whole
        ? order.length === all
          ? all === 1
            ? '1 image'
            : `${num(all)} images`
          : order.length
            ? `${num(order.length)} of ${num(all)} images`
            : `None of ${num(all)} images match. Remove a filter.`
        : `${num(order.length)} images, loading more…`) + lost,
    );
    for (const [link, form, limit, label] of /** @type {const} */ ([
      [this.png, 'grid', most.grid, 'PNG grid'],
      [this.zip, 'zip', most.zip, 'ZIP'],
    ])) {
      const on = whole && order.length > 0;
      const query = `&sort=${this.sorting.down ? '-' : ''}${this.sorting.name}&where=${encodeURIComponent(where.format(this.conditions))}`;
      setAttr(
        link,
        'href',
        on ? store.address(`${form}/${samples.c}/${this.held.done}`, query) : null,
      );
      setAttr(link, 'aria-disabled', String(!on));
      setText(link, order.length > limit ? `${label}, first ${num(limit)}` : label);
    }
  }

  #describe(i) {
    const { columns } = this.samples;
    const { name } = this.sorting;
    const v = columns[name]?.[i];
    const it = columns.it[i] + 1;
    const said =
      name === 'it'
        ? `iter. ${num(it)}`
        : name === 'pool'
          ? v
            ? 'in pool'
            : 'not in pool'
          : v == null
            ? '–'
            : where.columnOf(name).times
              ? pct(v)
              : name === 'side'
                ? `${v} px`
                : name === 'rank'
                  ? `no. ${num(v)}`
                  : value(v);
    return {
      caption: said,
      label: `${this.store.over.classes[this.samples.c]}, iteration ${it}, image ${columns.pos[i] + 1}${name === 'it' ? '' : `, ${where.columnOf(name).title} ${said}`}`,
    };
  }
}
