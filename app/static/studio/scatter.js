// Shows the images as points in the teacher's or the student's embedding. Synthetic images are
// filled points, real images hollow ones, class anchors squares. scatter_points.js selects the
// images and computes their positions and colors. point_cloud.js handles drawing and the pointer.
// Zoom and rotation survive every update.

import * as address from '../core/address.js';
import { PointCloud } from '../charts/point_cloud.js';
import * as lasso from '../charts/lasso.js';
import { resolveColors, h, num, setChildren, setAttr, setText } from '../core/dom.js';
import { glossaryTip } from '../core/glossary.js';
import { Legend } from './scatter_legend.js';
import { ClassNames } from './scatter_names.js';
import { ballsOf, colorsOf, iterationsOf, pointsOf, realOf, span } from './scatter_points.js';
import { generatorTerms, inUse } from '../core/terms.js';

/** @import { Frame, ImageKey, ImageOfClass, ScatterSelection } from '../core/types.js' */
/** @import { CloudPoints, Point, PanelState, Snapshot } from '../core/types.js' */
/** @import { Archive } from '../store/groups.js' */

const TIPS = {
  teacher: glossaryTip('embedding-map'),
  height:
    ' In 3-D, width and depth come from the 2-D map; height is the first principal component of what the map leaves out.',
  anchors:
    'The student’s embedding of real images and of up to 600 images sampled evenly from the pool, at the newest test. The anchors f_y (squares) fix the axes: an orthonormal projection onto their principal directions, so the ball of radius √(d·r_i) or √(d·r_o) around each anchor is a disc of exactly that radius (solid r_i, dashed r_o). Points move at each test because the student has learned.',
  principal:
    'The student’s embedding of real images and images from the pool at the newest test, projected onto its principal directions and aligned with the previous test (orthogonal Procrustes). Points move at each test because the student has learned.',
};
const UNAVAILABLE = {
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
   * @param {(c: number) => number} hooks.colorOf
   * @param {(images: ImageOfClass[] | null) => void} hooks.showSelection Shows images in place of
   *   the gallery.
   */
  constructor(view, { archive, select, colorOf, showSelection }) {
    this.archive = archive;
    const { space, dim, colour: colorBy, pick } = address.read('studio');
    this.select = select;
    this.colorOf = colorOf;
    this.showSelection = showSelection;
    /** @type {'teacher' | 'student'} */
    this.space = space;
    /** @type {2 | 3} */
    this.dim = dim;
    this.colorBy = colorBy;
    this.selectedClass = pick.selectedClass;
    this.highlightedClass = pick.selectedClass;
    this.lasso = pick.lasso;
    this.pendingSelection = address.format('pick', pick) && pick;
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
    this.colorSelect = this.panel.querySelector('.paint');
    this.tooltip = this.host.appendChild(h('div', { class: 'cloud-tip', hidden: true }));
    this.cloud = new PointCloud(this.host, {
      onClick: (i) => this.select(this.#image(i)),
      onSelect: (indices, text) => {
        this.#setSelection({
          selectedClass: this.selectedClass,
          lasso: indices.length ? text : null,
        });
        this.#highlight(indices);
        this.showSelection(this.#images(indices));
      },
      onHover: (i, x, y) => this.#showTooltip(i, x, y),
      afterPaint: (ctx, project) => this.#drawNames(ctx, project),
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
        if (isTrusted) this.#setSelection({ selectedClass: this.selectedClass });
      } // a lasso is only valid in the layout it was drawn in
      else if (name === 'kg-dim') this.dim = this.cloud.dim = value === '3' ? 3 : 2;
      else if (name === 'kg-paint') {
        this.colorBy = value;
        address.write({ colour: value });
      } else if (name === 'kg-tool') {
        this.cloud.tool = value;
        return;
      }
      this.redraw();
    });
    addEventListener('popstate', () => this.#readAddress());
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
    if (this.state) this.draw(this.state);
  }

  /**
   * Temporarily dims every class but one.
   * @param {number | null} c Null restores the previous state.
   */
  isolate(c) {
    const highlightedClass = c ?? this.selectedClass;
    if (this.highlightedClass !== highlightedClass) {
      this.highlightedClass = highlightedClass;
      this.redraw();
    }
  }

  /**
   * Selects a class and shows its images in the gallery, or clears the selection if the class is
   * already selected.
   * @param {number} c
   */
  selectClass(c) {
    this.#setSelection({ selectedClass: this.selectedClass === c ? null : c });
    this.showSelection(this.selectedClass == null ? null : this.#imagesOfClass(c));
  }

  /** Clears the selection. */
  clear() {
    this.#setSelection({});
  }

  #setSelection({ selectedClass = null, lasso = null }) {
    this.selectedClass = selectedClass;
    this.lasso = lasso;
    this.highlightedClass = selectedClass;
    this.pendingSelection = null;
    this.highlightedKeys = null;
    this.writeAddress();
    this.redraw();
  }

  /** Writes the selection into the address. */
  writeAddress() {
    if (document.body.dataset.page === 'studio')
      address.write({ pick: { selectedClass: this.selectedClass, lasso: this.lasso } });
  }

  /** The address has changed. */
  #readAddress() {
    if (address.page() !== 'studio') return;
    const { pick, colour: colorBy, space, dim } = address.read('studio');
    this.space = space;
    this.dim = dim;
    this.cloud.dim = dim;
    if (
      colorBy !== this.colorBy &&
      [...this.colorSelect.options].some((o) => o.value === colorBy)
    ) {
      this.colorBy = this.colorSelect.value = colorBy;
      this.redraw();
    }
    if (pick.selectedClass !== this.selectedClass || pick.lasso !== this.lasso)
      this.requestSelection(pick);
  }

  /**
   * Applies a selection from the address as soon as its points have arrived.
   * @param {ScatterSelection} pick
   */
  requestSelection({ selectedClass, lasso }) {
    this.selectedClass = selectedClass;
    this.lasso = lasso;
    this.highlightedClass = selectedClass;
    this.pendingSelection = { selectedClass, lasso };
    this.redraw();
  }

  #applyPendingSelection() {
    const { selectedClass, lasso: text } = this.pendingSelection;
    const { points } = this;
    this.pendingSelection = null;
    if (selectedClass >= this.classes.length) return this.clear();
    const indices =
      text &&
      lasso.pointsInside(lasso.read(text), points.x, points.y).filter((i) => !points.dimmed?.[i]);
    const found = text
      ? this.#images(indices)
      : selectedClass == null
        ? null
        : this.#imagesOfClass(selectedClass);
    if (text) this.#highlight(indices);
    this.showSelection(found);
    if (!found?.length) this.clear();
  }

  /** Dims all other images while a lasso's images are in the gallery. */
  #highlight(indices) {
    this.highlightedKeys = indices.length ? new Set(indices.map((i) => this.points.keys[i])) : null;
    this.redraw();
  }

  #imagesOfClass(c) {
    return this.#images(
      this.points ? this.points.c.flatMap((other, i) => (other === c ? [i] : [])) : [],
    );
  }

  #images(indices) {
    return indices.map((i) => ({ ...this.#image(i), c: this.points.c[i] }));
  }

  #image(i) {
    return { it: this.points.iteration[i], pos: this.points.pos[i] };
  }

  /**
   * Draws the points.
   * @param {PanelState} state
   */
  draw(state) {
    this.state = state;
    const { archive } = this;
    const { snapshot: snap, moment: frame } = state;
    const selected = state.selection.image;
    const reference = archive.reference();
    const runKey = `${snap.run} ${snap.id} ${snap.attempt}`;
    if (runKey !== this.runKey) {
      this.runKey = runKey;
      this.studentView = null;
    }
    const views = frame.past ? (frame.past.views ?? 0) : snap.views;
    const student = this.space === 'student';
    const studentView =
      student && views
        ? (archive.studentView(views) ??
          (this.studentView?.test <= views ? this.studentView : null))
        : null;
    this.studentView = studentView;
    this.#updateControls(snap, views);
    const { iterations, interval } = iterationsOf(snap, frame);
    const columns = iterations.map((it) => archive.points(it));
    const key = JSON.stringify([
      snap.run,
      snap.attempt,
      snap.id,
      student
        ? ['s', views, studentView?.test]
        : [iterations.length, iterations[0], iterations.at(-1)],
      columns.map(Boolean).lastIndexOf(true),
      columns.reduce((n, c) => n + Number(Boolean(c)), 0),
      student ? studentView?.reference.x.length : reference?.x?.length,
      selected && [selected.it, selected.pos, selected.x],
      this.colorBy,
      this.highlightedClass,
      this.dim,
      this.space,
      snap.classes.length,
    ]);
    if (student)
      setText(
        this.note,
        views
          ? studentView
            ? `test ${num(studentView.test)} of ${num(snap.views)}, ${num(studentView.c.length)} images`
            : 'loading…'
          : UNAVAILABLE[snap.curve.at.length && !frame.past ? 'old' : 'early'],
      );
    else
      setText(
        this.note,
        snap.layout === 'fitting'
          ? 'computing layout…'
          : snap.tested_on === 'synthetic' && snap.layout === 'none' && frame.current
            ? 'shown after 60 images'
            : interval > 1
              ? `1 in ${interval} iterations, plus the newest`
              : '',
      );
    if (key === this.key) return;
    this.key = key;
    this.#fill(snap, iterations, columns, student, studentView, reference, selected);
  }

  #fill(snap, iterations, columns, student, studentView, reference, selected) {
    const { colorBy } = this;
    const points = pointsOf(
      snap,
      { iterations, columns, studentView, isStudentView: student },
      colorBy,
    );
    const names = snap.classes.map((_, c) => `--c${this.colorOf(c)}`);
    const [backgroundColor, textColor, lineColor, mutedColor, oldColor, newestColor, ...palette] =
      resolveColors(this.host, [
        '--surface',
        '--ink',
        '--line',
        '--muted',
        '--pool',
        '--newest',
        ...names,
      ]);
    if (this.cloud.backgroundColor !== backgroundColor) this.cloud.raster.clear();
    Object.assign(this.cloud, { backgroundColor, textColor, lineColor });
    const range = span(points.value);
    const colors = { palette, oldColor, newestColor, mutedColor };
    points.colors = colorsOf(points, colorBy, colors, Math.max(-1, ...iterations), range);
    points.faded = this.highlightedKeys && points.keys.map((key) => !this.highlightedKeys.has(key));
    points.dimmed =
      this.highlightedClass == null ? null : points.c.map((c) => c !== this.highlightedClass);
    const positions = student ? studentView?.reference : reference;
    const real = realOf(positions, reference?.c ?? [], student, this.highlightedClass, (c) =>
      colorBy === 'class' ? palette[c] : mutedColor,
    );
    const balls =
      student && studentView ? ballsOf(studentView, this.highlightedClass, palette) : [];
    const index =
      selected && (student ? points.keys.indexOf(`${selected.it}:${selected.pos}`) : -1);
    const mark = !selected
      ? null
      : student
        ? index >= 0
          ? { x: points.x[index], y: points.y[index], z: points.z[index] }
          : null
        : selected.x == null
          ? null
          : { x: selected.x, y: selected.y, z: selected.z ?? 0.5 };
    const layoutKey = `${this.space} ${studentView?.test}`;
    const ease = this.layoutKey != null && this.layoutKey !== layoutKey && points.n > 0;
    if (points.n) this.layoutKey = layoutKey;
    this.points = points;
    this.classes = snap.classes;
    this.labelPoints = real.n ? real : points;
    this.textColor = textColor;
    this.cloud.set(points, {
      real,
      balls,
      mark,
      ease,
      square: student,
      fit: student ? `${snap.run} ${snap.id}` : '',
    });
    if (this.pendingSelection && points.n && (student ? studentView : columns.every(Boolean)))
      this.#applyPendingSelection();
    this.legend.draw(colorBy, range, real.n > 0, balls.length > 0);
    setAttr(
      this.host,
      'aria-label',
      `${student ? 'Student' : 'Teacher'} embedding: ${num(points.n)} synthetic and ${num(real.n)} real images. Use the colored dots in the gallery to select a class.`,
    );
  }

  #updateControls(snap, views) {
    const input = this.panel.querySelector('[value=student]');
    const span = input.nextElementSibling;
    const tip =
      views || this.space === 'student'
        ? TIPS[snap.radii ? 'anchors' : 'principal']
        : UNAVAILABLE[snap.curve.at.length ? 'old' : 'early'];
    setAttr(input, 'disabled', !views && this.space !== 'student');
    setAttr(span, 'data-tip', tip);
    setText(this.title, this.space === 'student' ? "Student's view" : "Teacher's view");
    setAttr(
      this.title,
      'data-tip',
      this.space === 'student'
        ? TIPS[this.studentView?.axes ?? 'anchors']
        : TIPS.teacher + TIPS.height,
    );
    const terms = inUse(snap, generatorTerms(snap));
    const key = terms.map((t) => t.name).join();
    if (this.termsKey !== key) {
      this.termsKey = key;
      const options = {
        class: 'class',
        newest: 'newest batch',
        age: 'age',
        p: 'teacher confidence',
        ...Object.fromEntries(terms.map((t) => [t.name, t.title])),
      };
      setChildren(
        this.colorSelect,
        Object.entries(options).map(([value, text]) => h('option', { value }, text)),
      );
      if (!(this.colorBy in options)) this.colorBy = 'class';
      this.colorSelect.value = this.colorBy;
    }
  }

  #showTooltip(i, x, y) {
    this.tooltip.hidden = i == null;
    this.host.classList.toggle('on', i != null);
    if (i == null) return;
    const v = this.points.value[i];
    const value =
      ['class', 'newest', 'age'].includes(this.colorBy) || Number.isNaN(v)
        ? ''
        : `, ${this.colorSelect.selectedOptions[0]?.text} ${v.toFixed(2)}`;
    setText(
      this.tooltip,
      `${this.classes[this.points.c[i]]}, iteration ${num(this.points.iteration[i] + 1)}${value}`,
    );
    this.tooltip.style.left = `${Math.min(x + 12, this.host.clientWidth - this.tooltip.offsetWidth - 4)}px`;
    this.tooltip.style.top = `${Math.max(0, y - 28)}px`;
  }

  #drawNames(ctx, project) {
    const { labelPoints, classes, space, highlightedClass, textColor } = this;
    if (labelPoints)
      this.names.draw(ctx, project, {
        points: labelPoints,
        classes,
        space,
        highlightedClass,
        textColor,
      });
  }
}
