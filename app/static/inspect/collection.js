// One class on the Inspect page: all its images, sorted and filtered; its mean image; and the
// student's results on real images of it.

import { h, num, pct, put, s, setAttr, setText } from '../core/dom.js';
import { generatorTerms, inUse } from '../core/terms.js';
import { value } from '../charts/loss_strips.js';
import { VirtualGrid } from '../charts/virtual_grid.js';
import * as where from '../store/image_filter.js';

/** @import { Changes, ClassTests } from '../core/types.js' */
/** @import { RunStore, Samples } from '../store/run_store.js' */

const CHART = { w: 240, h: 72 };

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
    /** @type {HTMLElement} */
    this.facts = root.querySelector('.facts');
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
   * @param {RunStore} store
   * @param {Samples} samples Of the class.
   * @param {string | null} sort As in the address.
   * @param {string | null} conditions As in the address.
   * @param {ClassTests | null} tests
   */
  draw(store, samples, sort, conditions, tests) {
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
    this.#facts(tests);
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

  // --- the class as a whole
  // ------------------------------------------------------------------------

  #facts(tests) {
    const { samples, store } = this;
    const key = `${store.mark} ${samples.c} ${samples.n} ${tests?.rows.length ?? '-'}`;
    if (key === this.known) return;
    this.known = key;
    put(
      this.facts,
      h(
        'header',
        null,
        h('h2', null, samples.means.size > 1 ? 'Mean images' : 'Mean image'),
        h('p', { class: 'note' }, `of ${num(samples.n)} images`),
      ),
      h(
        'div',
        { class: 'means' },
        [...samples.means.values()]
          .sort((a, b) => a.side - b.side)
          .map((mean) => this.#mean(mean, samples.means.size > 1)),
      ),
      ...this.#scores(tests),
    );
  }

  #mean({ side, small, channels, n, sum }, several) {
    const canvas = h('canvas', {
      width: small,
      height: small,
      role: 'img',
      'aria-label': `Mean of ${n} images of ${side} × ${side}`,
    });
    const ctx = canvas.getContext('2d');
    const out = ctx.createImageData(small, small);
    const area = small * small;
    for (let i = 0; i < area; i++)
      for (let ch = 0; ch < 4; ch++)
        out.data[4 * i + ch] =
          ch === 3 ? 255 : sum[(channels === 1 ? 0 : Math.min(ch, channels - 1)) * area + i] / n;
    ctx.putImageData(out, 0, 0);
    return h(
      'figure',
      null,
      canvas,
      h('figcaption', { class: 'small muted' }, several ? `${side} px, ${num(n)} images` : ''),
    );
  }

  #scores(tests) {
    const { over } = this.store;
    const words = (text) => [
      h('h2', null, 'On real images'),
      h('p', { class: 'small muted' }, text),
    ];
    if (!over.student) return words('This run has no student.');
    if (!over.tests) return words('The student has not been tested yet.');
    if (!tests) return words('…');
    if (tests.error) return words(tests.error);
    const { rows, real, n } = tests;
    const [, student, teacher] = rows.at(-1);
    const title = h('h2', null, real ? 'On real images' : 'On synthetic images');
    const about = real
      ? 'of this class classified correctly in the last test'
      : 'of this class classified as by the teacher in the last test; there are no real images';
    if (student == null)
      return [
        title,
        h(
          'p',
          { class: 'small muted' },
          'This run’s tests have no per-class results, or no images of this class.',
        ),
      ];
    const taken = (who, list) =>
      list.length
        ? h(
            'div',
            null,
            h('h3', null, `${who} mistakes it for`),
            h(
              'ol',
              { class: 'top5' },
              list.map(([named, count]) =>
                h(
                  'li',
                  null,
                  h(
                    'span',
                    { title: over.classes[named] },
                    over.classes[named] ?? `class ${named}`,
                  ),
                  h(
                    'span',
                    {
                      class: 'track',
                      style: {
                        '--v': count / list[0][1],
                        '--c': `var(--c${this.store.colours[named] ?? 0})`,
                      },
                    },
                    h('i'),
                  ),
                  h('span', { class: 'num' }, num(count)),
                ),
              ),
            ),
          )
        : null;
    const confused = [
      taken('The student', tests.student),
      taken('The teacher', tests.teacher),
    ].filter(Boolean);
    return [
      title,
      h(
        'p',
        null,
        h('b', null, pct(student, 1)),
        h(
          'span',
          { class: 'muted' },
          ` student${teacher == null ? '' : `, ${pct(teacher, 1)} teacher`}`,
        ),
      ),
      h(
        'p',
        { class: 'small muted' },
        `${about} (${num(n)} images over all classes; overall ${pct(tests.all[0], 1)}).`,
      ),
      rows.length > 1 ? this.#course(rows) : null,
      ...confused,
      confused.length
        ? h('p', { class: 'small muted' }, 'Misclassified images in that test, by predicted class.')
        : h(
            'p',
            { class: 'small muted' },
            student === 1
              ? 'No images were misclassified.'
              : 'Misclassifications are not available: this run comes from an earlier version.',
          ),
    ].filter(Boolean);
  }

  /** The accuracy, test by test. */
  #course(rows) {
    const { w, h: tall } = CHART;
    const known = rows.filter(([, share]) => share != null);
    const x = (i) => 4 + ((w - 8) * i) / Math.max(1, known.length - 1);
    const y = (v) => tall - 4 - (tall - 8) * v;
    const teacher = rows.findLast(([, , t]) => t != null)?.[2];
    return h(
      'figure',
      { class: 'course' },
      s(
        'svg',
        {
          viewBox: `0 0 ${w} ${tall}`,
          role: 'img',
          'aria-label': `Student: from ${pct(known[0][1])} to ${pct(known.at(-1)[1])} over ${known.length} tests`,
        },
        [0, 1].map((v) => s('line', { class: 'grid', x1: 4, x2: w - 4, y1: y(v), y2: y(v) })),
        teacher == null
          ? null
          : s('line', { class: 'teacher-line', x1: 4, x2: w - 4, y1: y(teacher), y2: y(teacher) }),
        s('path', {
          class: 'student-line',
          d: known
            .map(([, v], i) => `${i ? 'L' : 'M'}${x(i).toFixed(1)} ${y(v).toFixed(1)}`)
            .join(''),
        }),
      ),
      h(
        'figcaption',
        { class: 'small muted' },
        `${num(known.length)} tests, from ${num(known[0][0])} to ${num(known.at(-1)[0])} images in the pool; scale 0 to 100%`,
      ),
    );
  }
}
