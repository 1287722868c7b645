// The images as points in the teacher's or the student's embedding. Synthetic images are filled,
// real ones hollow; a class anchor is a square. scatter_points.js decides which images to show,
// where and in which color; point_cloud.js handles drawing and pointers. Zoom and rotation survive
// every update.

import * as address from '../core/address.js';
import { PointCloud } from '../charts/point_cloud.js';
import * as lasso from '../charts/lasso.js';
import { colours, h, num, put, setAttr, setText } from '../core/dom.js';
import { told } from '../core/glossary.js';
import { Legend } from './scatter_legend.js';
import { ClassNames } from './scatter_names.js';
import { ballsOf, coloursOf, iterationsOf, pointsOf, realOf, span } from './scatter_points.js';
import { generatorTerms, inUse } from '../core/terms.js';

/** @import { Frame, ImageKey, ImageOfClass, Pick } from '../core/types.js' */
/** @import { CloudPoints, Point, Shown, Snapshot } from '../core/types.js' */
/** @import { Archive } from '../store/groups.js' */

const TIPS = {
  teacher: told('embedding-map'),
  height:
    ' In 3-D, width and depth are those of the 2-D map; height is the first principal component of what the map leaves out.',
  anchors:
    'The student’s embedding of real images and of up to 600 images sampled evenly from the pool, at the newest test. The anchors f_y (squares) fix the axes: an orthonormal projection onto their principal directions, so the ball of radius √(d·r_i) or √(d·r_o) around each anchor is a disc of exactly that radius (solid r_i, dashed r_o). Points move at each test because the student has learned.',
  principal:
    'The student’s embedding of real images and images from the pool, at the newest test: principal directions, aligned with the previous test (orthogonal Procrustes). Points move at each test because the student has learned.',
};
const WITHOUT = {
  early: 'Available after the student’s first test.',
  old: 'This run comes from an earlier version, which did not record the student’s view.',
};

/** The scatter plot of images. */
export class Scatter {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {Archive} hooks.archive
   * @param {(at: ImageKey) => void} hooks.select
   * @param {(c: number) => number} hooks.colour
   * @param {(images: ImageOfClass[] | null) => void} hooks.gather Shows images in place of the
   *   gallery.
   */
  constructor(view, { archive, select, colour, gather }) {
    this.archive = archive;
    const { space, dim, colour: by, pick } = address.read('studio');
    this.select = select;
    this.colour = colour;
    this.gather = gather;
    /** @type {'teacher' | 'student'} */
    this.space = space;
    /** @type {2 | 3} */
    this.dim = dim;
    this.by = by;
    this.held = pick.held;
    this.only = pick.held;
    this.lasso = pick.lasso;
    this.asked = address.format('pick', pick) && pick;
    this.key = '';
    /** @type {HTMLElement} */
    this.panel = view.querySelector('.p-space');
    /** @type {HTMLElement} */
    this.host = this.panel.querySelector('.scatter');
    /** @type {HTMLElement} */
    this.note = this.panel.querySelector('.note');
    /** @type {HTMLElement} */
    this.title = this.panel.querySelector('h2 .term');
    this.legend = new Legend(this.panel.querySelector('.key'));
    /** @type {HTMLSelectElement} */
    this.paint = this.panel.querySelector('.paint');
    this.hint = this.host.appendChild(h('div', { class: 'cloud-tip', hidden: true }));
    this.cloud = new PointCloud(this.host, {
      click: (i) => this.select(this.#image(i)),
      picked: (found, text) => {
        this.#hold({ held: this.held, lasso: found.length ? text : null });
        this.#mark(found);
        this.gather(this.#images(found));
      },
      over: (i, x, y) => this.#over(i, x, y),
      drawn: (ctx, project) => this.#names(ctx, project),
    });
    this.names = new ClassNames(this.host, this.cloud);
    this.cloud.dim = dim;
    for (const [name, value] of [
      ['kg-space', space],
      ['kg-dim', String(dim)],
    ])
      for (const input of this.#inputs(name)) input.checked = input.value === value;
    this.panel.addEventListener('change', ({ target, isTrusted }) => {
      const { name, value } = /** @type {HTMLInputElement} */ (target);
      if (name === 'kg-space') {
        this.space = value === 'student' ? 'student' : 'teacher';
        if (isTrusted) this.#hold({ held: this.held });
      } // a lasso is only valid in the layout it was drawn in
      else if (name === 'kg-dim') this.dim = this.cloud.dim = value === '3' ? 3 : 2;
      else if (name === 'kg-paint') {
        this.by = value;
        address.write({ colour: value });
      } else if (name === 'kg-tool') {
        this.cloud.tool = value;
        return;
      }
      this.redraw();
    });
    addEventListener('popstate', () => this.#turn());
    new MutationObserver(() => this.redraw()).observe(document.body, {
      attributeFilter: ['class'],
    });
  }

  /** @returns {NodeListOf<HTMLInputElement>} */
  #inputs(name) {
    return this.panel.querySelectorAll(`[name=${name}]`);
  }

  /** Forces a redraw. */
  redraw() {
    this.key = '';
    if (this.last) this.draw(this.last);
  }

  /**
   * Temporarily dims every class but one.
   * @param {number | null} c Null restores the previous state.
   */
  isolate(c) {
    const only = c ?? this.held;
    if (this.only !== only) {
      this.only = only;
      this.redraw();
    }
  }

  /**
   * Holds a class and shows its images in the gallery; calling it again releases the class.
   * @param {number} c
   */
  all(c) {
    this.#hold({ held: this.held === c ? null : c });
    this.gather(this.held == null ? null : this.#of(c));
  }

  /** Clears the selection. */
  clear() {
    this.#hold({});
  }

  #hold({ held = null, lasso = null }) {
    this.held = held;
    this.lasso = lasso;
    this.only = held;
    this.asked = null;
    this.within = null;
    this.tell();
    this.redraw();
  }

  /** Writes the selection into the address. */
  tell() {
    if (document.body.dataset.page === 'studio')
      address.write({ pick: { held: this.held, lasso: this.lasso } });
  }

  /** The address has changed. */
  #turn() {
    if (address.page() !== 'studio') return;
    const { pick, colour, space, dim } = address.read('studio');
    this.space = space;
    this.dim = dim;
    this.cloud.dim = dim;
    if (colour !== this.by && [...this.paint.options].some((o) => o.value === colour)) {
      this.by = this.paint.value = colour;
      this.redraw();
    }
    if (pick.held !== this.held || pick.lasso !== this.lasso) this.ask(pick);
  }

  /**
   * Selects what an address asks for, once its points have arrived.
   * @param {Pick} pick
   */
  ask({ held, lasso }) {
    this.held = held;
    this.lasso = lasso;
    this.only = held;
    this.asked = { held, lasso };
    this.redraw();
  }

  #gather() {
    const { held, lasso: text } = this.asked;
    const { points } = this;
    this.asked = null;
    if (held >= this.classes.length) return this.clear();
    const inside =
      text && lasso.within(lasso.read(text), points.x, points.y).filter((i) => !points.faint?.[i]);
    const found = text ? this.#images(inside) : held == null ? null : this.#of(held);
    if (text) this.#mark(inside);
    this.gather(found);
    if (!found?.length) this.clear();
  }

  /** Dims all other images while a lasso's images are in the gallery. */
  #mark(found) {
    this.within = found.length ? new Set(found.map((i) => this.points.keys[i])) : null;
    this.redraw();
  }

  #of(c) {
    return this.#images(
      this.points ? this.points.c.flatMap((own, i) => (own === c ? [i] : [])) : [],
    );
  }

  #images(found) {
    return found.map((i) => ({ ...this.#image(i), c: this.points.c[i] }));
  }

  #image(i) {
    return { it: this.points.iteration[i], pos: this.points.pos[i] };
  }

  /**
   * Draws the points.
   * @param {Shown} now
   */
  draw(now) {
    this.last = now;
    const { archive } = this;
    const { snapshot: snap, moment: frame } = now;
    const chosen = now.selection.image;
    const reference = archive.reference();
    const whose = `${snap.run} ${snap.id} ${snap.attempt}`;
    if (whose !== this.whose) {
      this.whose = whose;
      this.seen = null;
    }
    const views = frame.past ? (frame.past.views ?? 0) : snap.views;
    const student = this.space === 'student';
    const seen =
      student && views
        ? (archive.studentView(views) ?? (this.seen?.test <= views ? this.seen : null))
        : null;
    this.seen = seen;
    this.#switches(snap, views);
    const shown = iterationsOf(snap, frame);
    const columns = shown.list.map((it) => archive.points(it));
    const key = JSON.stringify([
      snap.run,
      snap.attempt,
      snap.id,
      student ? ['s', views, seen?.test] : [shown.list.length, shown.list[0], shown.list.at(-1)],
      columns.map(Boolean).lastIndexOf(true),
      columns.reduce((n, c) => n + Number(Boolean(c)), 0),
      student ? seen?.reference.x.length : reference?.x?.length,
      chosen && [chosen.it, chosen.pos, chosen.x],
      this.by,
      this.only,
      this.dim,
      this.space,
      snap.classes.length,
    ]);
    if (student)
      setText(
        this.note,
        views
          ? seen
            ? `test ${num(seen.test)} of ${num(snap.views)}, ${num(seen.c.length)} images`
            : 'loading…'
          : WITHOUT[snap.curve.at.length && !frame.past ? 'old' : 'early'],
      );
    else
      setText(
        this.note,
        snap.layout === 'fitting'
          ? 'computing layout…'
          : snap.tested_on === 'synthetic' && snap.layout === 'none' && frame.making
            ? 'shown after 60 images'
            : shown.every > 1
              ? `1 in ${shown.every} iterations, plus the newest`
              : '',
      );
    if (key === this.key) return;
    this.key = key;
    this.#fill(snap, shown, columns, student, seen, reference, chosen);
  }

  #fill(snap, { list }, columns, student, seen, reference, chosen) {
    const { by } = this;
    const points = pointsOf(snap, { list, columns, seen, student }, by);
    const names = snap.classes.map((_, c) => `--c${this.colour(c)}`);
    const [surface, ink, line, muted, old, fresh, ...palette] = colours(this.host, [
      '--surface',
      '--ink',
      '--line',
      '--muted',
      '--pool',
      '--newest',
      ...names,
    ]);
    if (this.cloud.surface !== surface) this.cloud.stamps.clear();
    Object.assign(this.cloud, { surface, inkColour: ink, lineColour: line });
    const ends = span(points.value);
    const look = { palette, old, fresh, muted };
    points.colour = coloursOf(points, by, look, Math.max(-1, ...list), ends);
    points.pale = this.within && points.keys.map((key) => !this.within.has(key));
    points.faint = this.only == null ? null : points.c.map((c) => c !== this.only);
    const at = student ? seen?.reference : reference;
    const real = realOf(at, reference?.c ?? [], student, this.only, (c) =>
      by === 'class' ? palette[c] : muted,
    );
    const balls = student && seen ? ballsOf(seen, this.only, palette) : [];
    const own = chosen && (student ? points.keys.indexOf(`${chosen.it}:${chosen.pos}`) : -1);
    const mark = !chosen
      ? null
      : student
        ? own >= 0
          ? { x: points.x[own], y: points.y[own], z: points.z[own] }
          : null
        : chosen.x == null
          ? null
          : { x: chosen.x, y: chosen.y, z: chosen.z ?? 0.5 };
    const moved = `${this.space} ${seen?.test}`;
    const ease = this.moved != null && this.moved !== moved && points.n > 0;
    if (points.n) this.moved = moved;
    this.points = points;
    this.classes = snap.classes;
    this.base = real.n ? real : points;
    this.ink = ink;
    this.cloud.set(points, {
      real,
      balls,
      mark,
      ease,
      square: student,
      fit: student ? `${snap.run} ${snap.id}` : '',
    });
    if (this.asked && points.n && (student ? seen : columns.every(Boolean))) this.#gather();
    this.legend.draw(by, ends, real.n > 0, balls.length > 0);
    setAttr(
      this.host,
      'aria-label',
      `${student ? 'Student' : 'Teacher'} embedding: ${num(points.n)} synthetic and ${num(real.n)} real images. Use the colored dots in the gallery to select a class.`,
    );
  }

  #switches(snap, views) {
    const input = this.panel.querySelector('[value=student]');
    const span = input.nextElementSibling;
    const tip =
      views || this.space === 'student'
        ? TIPS[snap.radii ? 'anchors' : 'principal']
        : WITHOUT[snap.curve.at.length ? 'old' : 'early'];
    setAttr(input, 'disabled', !views && this.space !== 'student');
    setAttr(span, 'data-tip', tip);
    setText(this.title, this.space === 'student' ? "Student's view" : "Teacher's view");
    setAttr(
      this.title,
      'data-tip',
      this.space === 'student' ? TIPS[this.seen?.axes ?? 'anchors'] : TIPS.teacher + TIPS.height,
    );
    const terms = inUse(snap, generatorTerms(snap));
    const key = terms.map((t) => t.name).join();
    if (this.terms !== key) {
      this.terms = key;
      const options = {
        class: 'class',
        newest: 'newest batch',
        age: 'age',
        p: 'teacher confidence',
        ...Object.fromEntries(terms.map((t) => [t.name, t.title])),
      };
      put(
        this.paint,
        Object.entries(options).map(([value, text]) => h('option', { value }, text)),
      );
      if (!(this.by in options)) this.by = 'class';
      this.paint.value = this.by;
    }
  }

  #over(i, x, y) {
    this.hint.hidden = i == null;
    this.host.classList.toggle('on', i != null);
    if (i == null) return;
    const v = this.points.value[i];
    const value =
      ['class', 'newest', 'age'].includes(this.by) || Number.isNaN(v)
        ? ''
        : `, ${this.paint.selectedOptions[0]?.text} ${v.toFixed(2)}`;
    setText(
      this.hint,
      `${this.classes[this.points.c[i]]}, iteration ${num(this.points.iteration[i] + 1)}${value}`,
    );
    this.hint.style.left = `${Math.min(x + 12, this.host.clientWidth - this.hint.offsetWidth - 4)}px`;
    this.hint.style.top = `${Math.max(0, y - 28)}px`;
  }

  #names(ctx, project) {
    const { base, classes, space, only, ink } = this;
    if (base) this.names.draw(ctx, project, { base, classes, space, only, ink });
  }
}
