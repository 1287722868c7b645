// One class on the Inspect page: all its images, sorted and filtered. class_facts.js describes the
// class as a whole.

import { h, num, pct, setChildren, setAttr, setText } from '../core/dom.js';
import { ClassFacts } from './class_facts.js';
import { generatorTerms, inUse } from '../core/terms.js';
import { formatLoss } from '../charts/loss_strips.js';
import { VirtualGrid } from '../charts/virtual_grid.js';
import * as imageFilter from '../store/image_filter.js';

/** @import { Changes, ImagesOfClass, PanelState } from '../core/types.js' */
/** @import { RunStore } from '../store/run_store.js' */

/** All images of a class, sorted and filtered, and the class as a whole. */
export class Collection {
  /**
   * @param {HTMLElement} root
   * @param {object} hooks
   * @param {(it: number, pos: number) => void} hooks.open Called when an image is selected.
   * @param {(changes: Changes) => void} hooks.change Changes the address, and so what is shown.
   */
  constructor(root, { open, change }) {
    this.root = root;
    this.change = change;
    this.order = [];
    this.facts = new ClassFacts(root.querySelector('.facts'));
    /** @type {HTMLSelectElement} */
    this.sort = root.querySelector('.sort');
    /** @type {HTMLButtonElement} */
    this.directionButton = root.querySelector('.direction');
    /** @type {HTMLFormElement} */
    this.filterForm = root.querySelector('.filter');
    /** @type {HTMLSelectElement} */
    this.filterColumn = root.querySelector('.what');
    /** @type {HTMLInputElement} */
    this.lowField = root.querySelector('.low');
    /** @type {HTMLInputElement} */
    this.highField = root.querySelector('.high');
    /** @type {HTMLSelectElement} */
    this.filterChoice = root.querySelector('.which');
    /** @type {HTMLElement} */
    this.chips = root.querySelector('.chips');
    /** @type {HTMLElement} */
    this.count = root.querySelector('.count');
    /** @type {HTMLButtonElement} */
    this.newerButton = root.querySelector('.newer');
    /** @type {HTMLAnchorElement} */
    this.pngLink = root.querySelector('.png');
    /** @type {HTMLAnchorElement} */
    this.zipLink = root.querySelector('.zip');
    /** @type {HTMLElement} */
    this.rangeFields = root.querySelector('.range');
    this.grid = new VirtualGrid(root.querySelector('.image-grid'), {
      open: (i) => {
        const { it, pos } = this.samples.columns;
        open(it[this.order[i]], pos[this.order[i]]);
      },
      describe: (i) => this.#describe(this.order[i]),
    });
    this.sort.addEventListener('change', () =>
      this.change({ sort: this.#sortParameter(this.sort.value, this.sorting.descending) }),
    );
    this.directionButton.addEventListener('click', () =>
      this.change({ sort: this.#sortParameter(this.sorting.name, !this.sorting.descending) }),
    );
    this.filterColumn.addEventListener('change', () => this.#updateFilterFields());
    this.newerButton.addEventListener('click', () => {
      this.frozen = null;
      this.change({});
    });
    this.filterForm.addEventListener('submit', (e) => {
      e.preventDefault();
      this.#add();
    });
  }

  /**
   * Draws the class.
   * @param {PanelState<RunStore, null, ImagesOfClass>} state
   */
  draw(state) {
    const { snapshot: store, selection } = state;
    const { samples, sort, where: conditions } = selection;
    const isNewClass = this.samples !== samples;
    this.store = store;
    this.samples = samples;
    this.sorting = imageFilter.parseSorting(sort, store.overview.own_terms);
    this.conditions = imageFilter.parse(conditions, store.overview.own_terms);
    const terms = inUse(store.overview, generatorTerms(store.overview));
    if (isNewClass) this.#columns(terms);
    this.sort.value = this.sorting.name;
    setText(this.directionButton, this.sorting.descending ? 'highest first ↓' : 'lowest first ↑');
    this.#freeze(`${store.attemptKey} ${samples.c} ${sort} ${conditions}`);
    this.order = imageFilter.selectRows(
      samples.columns,
      this.conditions,
      this.sorting,
      this.frozen.n,
    );
    const { sheets, positions, columns } = samples;
    this.grid.show(
      this.order.map((i) => ({
        sheet: sheets[positions[i].sheet],
        index: positions[i].index,
        side: columns.side[i],
      })),
      `${this.frozen.key}${this.#appendsOnly() ? '' : ` ${this.frozen.n}`}`,
    );
    this.#chips();
    this.#count();
    this.facts.draw(state);
  }

  /**
   * Keeps a sorted list unchanged while the run continues. New images appear on a click.
   */
  #freeze(key) {
    const { n, done, total } = this.samples;
    if (this.frozen?.key !== key || this.#appendsOnly() || !this.frozen.isComplete)
      this.frozen = { key, n, done, isComplete: done >= total };
  }

  /** Are new images only ever appended? */
  #appendsOnly() {
    return this.sorting.name === 'it' && !this.sorting.descending;
  }

  #sortParameter(name, descending) {
    return name === 'it' && !descending ? null : `${descending ? '-' : ''}${name}`;
  }

  #columns(terms) {
    const columns = imageFilter.columnsOf(terms, Boolean(this.store.overview.judge));
    const sides = new Set(this.store.overview.scales.map(({ side }) => side));
    const options = () =>
      columns
        .filter(({ name }) => name !== 'side' || sides.size > 1)
        .map(({ name, title }) => h('option', { value: name }, title));
    setChildren(this.sort, options());
    setChildren(this.filterColumn, options());
    this.filterColumn.value = 'p';
    this.#updateFilterFields();
  }

  /** Most columns have two numeric fields; pool and resolution have a menu instead. */
  #updateFilterFields() {
    const name = this.filterColumn.value;
    const choices =
      name === 'pool'
        ? [
            ['1', 'in the pool'],
            ['0', 'not in the pool'],
          ]
        : name === 'side'
          ? [...new Set(this.store.overview.scales.map(({ side }) => side))].map((side) => [
              side,
              `${side} px`,
            ])
          : null;
    setAttr(this.filterChoice, 'hidden', !choices);
    setAttr(this.rangeFields, 'hidden', Boolean(choices));
    setChildren(
      this.filterChoice,
      (choices ?? []).map(([v, label]) => h('option', { value: v }, label)),
    );
    const percent = imageFilter.columnOf(name).scale ? ', %' : '';
    for (const [field, words] of /** @type {const} */ ([
      [this.lowField, 'at least'],
      [this.highField, 'at most'],
    ])) {
      setAttr(field, 'placeholder', words + percent);
      field.value = '';
    }
  }

  #add() {
    const name = this.filterColumn.value;
    const readBound = (field, open) =>
      field.value === '' ? open : imageFilter.fromDisplayed(name, +field.value);
    const [low, high] = this.filterChoice.hidden
      ? [readBound(this.lowField, -Infinity), readBound(this.highField, Infinity)]
      : [+this.filterChoice.value, +this.filterChoice.value];
    if (low === -Infinity && high === Infinity) return void this.lowField.focus();
    this.#setConditions([...this.conditions.filter((c) => c.name !== name), { name, low, high }]);
    this.lowField.value = this.highField.value = '';
  }

  #setConditions(conditions) {
    this.change({ where: imageFilter.format(conditions) || null });
  }

  #chips() {
    const text = imageFilter.format(this.conditions);
    if (text === this.chipsKey) return;
    this.chipsKey = text;
    setChildren(
      this.chips,
      this.conditions.map((c, at) =>
        h(
          'button',
          {
            type: 'button',
            class: 'chip',
            'aria-label': `Remove: ${imageFilter.describe(c)}`,
            onclick: () => this.#setConditions(this.conditions.filter((_, i) => i !== at)),
          },
          imageFilter.describe(c),
          ' ×',
        ),
      ),
    );
  }

  #count() {
    const { samples, order, store } = this;
    const total = this.frozen.n;
    const { most } = store.overview;
    const isComplete = samples.done >= samples.total;
    const lost = samples.lost.length
      ? ` ${num(samples.lost.length)} iterations could not be read.`
      : '';
    const newCount = samples.n - total;
    setText(this.newerButton, newCount ? `${num(newCount)} new` : '');
    setAttr(this.newerButton, 'hidden', !newCount);
    setText(
      this.count,
      (isComplete
        ? order.length === total
          ? total === 1
            ? '1 image'
            : `${num(total)} images`
          : order.length
            ? `${num(order.length)} of ${num(total)} images`
            : `None of ${num(total)} images match. Remove a filter.`
        : `${num(order.length)} images, loading more…`) + lost,
    );
    for (const [link, format, limit, label] of /** @type {const} */ ([
      [this.pngLink, 'grid', most.grid, 'PNG grid'],
      [this.zipLink, 'zip', most.zip, 'ZIP'],
    ])) {
      const isAvailable = isComplete && order.length > 0;
      const query = `&sort=${this.sorting.descending ? '-' : ''}${this.sorting.name}&where=${encodeURIComponent(imageFilter.format(this.conditions))}`;
      setAttr(
        link,
        'href',
        isAvailable ? store.url(`${format}/${samples.c}/${this.frozen.done}`, query) : null,
      );
      setAttr(link, 'aria-disabled', String(!isAvailable));
      setText(link, order.length > limit ? `${label}, first ${num(limit)}` : label);
    }
  }

  #describe(i) {
    const { columns } = this.samples;
    const { name } = this.sorting;
    const v = columns[name]?.[i];
    const it = columns.it[i] + 1;
    const text =
      name === 'it'
        ? `iter. ${num(it)}`
        : name === 'pool'
          ? v
            ? 'in pool'
            : 'not in pool'
          : v == null
            ? '–'
            : imageFilter.columnOf(name).scale
              ? pct(v)
              : name === 'side'
                ? `${v} px`
                : name === 'rank'
                  ? `no. ${num(v)}`
                  : formatLoss(v);
    return {
      caption: text,
      label: `${this.store.overview.classes[this.samples.c]}, iteration ${it}, image ${columns.pos[i] + 1}${name === 'it' ? '' : `, ${imageFilter.columnOf(name).title} ${text}`}`,
    };
  }
}
