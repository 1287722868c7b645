// Progress charts: the student's accuracy on real images, and the generator's or student's loss,
// against the number of stored synthetic images. The budget bar is their shared axis. The charts
// are SVG in CSS pixels.

import { multiples, stepFor } from '../charts/ticks.js';
import { h, num, percentage, setChildren, s, setAttr, setText, signed } from '../core/dom.js';
import { glossaryTip } from '../core/glossary.js';
import { REWARD, STUDENT, generatorTerms, inUse } from '../core/terms.js';

/** @import { PanelState, Term } from '../core/types.js' */

const MIN_FOR_PERCENT = 50; // with fewer images, a percentage would look more precise than it is
const LEFT = 30;
const RIGHT = 136;
/** The terms of a network's loss in legend order: top of the stack first, reward last. */
const lossesOf = (snap, network) => {
  if (network === 'student') return STUDENT.toReversed();
  const terms = generatorTerms(snap).filter((term) => term !== REWARD);
  return [...terms.toReversed(), REWARD];
};

const line = (points) => points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L');
const pickColumns = (series, names) =>
  Object.fromEntries(['images', ...names].map((name) => [name, series[name]]));
/** Keeps the last of several values with the same image count, so that a line never goes back. */
const lastOfEach = (series) => {
  const indices = series.images
    .map((x, i) => i)
    .filter((i) => series.images[i + 1] !== series.images[i]);
  return Object.fromEntries(
    Object.entries(series).map(([name, column]) => [name, indices.map((i) => column[i])]),
  );
};
const OPINION = ['chosen', 'top1', 'top5'];
const text = (x, y, words, props) => s('text', { x, y, ...props }, words);

/** The progress charts. */
export class Curves {
  /** @param {HTMLElement} view */
  constructor(view) {
    /** @type {HTMLElement} */
    this.host = view.querySelector('.curves');
    this.network = 'generator';
    this.legendItems = new Map(
      ['generator', 'student']
        .flatMap((network) => lossesOf({}, network))
        .map((term) => this.#legendItem(term)),
    );
    this.legend = h(
      'div',
      { class: 'legend' },
      [...this.legendItems.values()].map(({ button }) => button),
    );
    this.networkSwitch = h(
      'div',
      { class: 'which-loss', role: 'group', 'aria-label': 'Which loss' },
      ['generator', 'student'].map((network) =>
        h(
          'button',
          {
            type: 'button',
            'data-of': network,
            onclick: () => {
              this.network = network;
              this.isolatedTerm = null;
              this.#redrawSoon();
            },
          },
          `${network} loss`,
        ),
      ),
    );
    this.drawing = h('div');
    this.host.append(this.drawing, this.networkSwitch, this.legend);
    new ResizeObserver(() => this.#redrawSoon()).observe(this.host);
    this.host.addEventListener('pointermove', (e) => {
      this.pointerX = e.clientX - this.host.getBoundingClientRect().left;
      this.#redrawSoon();
    });
    this.host.addEventListener('pointerleave', () => {
      this.pointerX = null;
      this.#redrawSoon();
    });
  }

  #redrawSoon() {
    cancelAnimationFrame(this.pending);
    this.pending = requestAnimationFrame(() => this.state && this.draw(this.state));
  }

  /**
   * Draws the charts if they have changed.
   * @param {PanelState} state
   */
  draw(state) {
    this.state = state;
    const { snapshot: snap } = state;
    const width = this.host.clientWidth;
    const height = this.host.clientHeight;
    if (width < 200 || height < 120) return;
    const last = (series) => series?.images?.at(-1);
    const key = JSON.stringify([
      snap.run,
      snap.attempt,
      last(snap.curve),
      snap.curve?.accuracy?.length,
      snap.opinion?.images?.length,
      last(snap.opinion),
      last(snap.loss),
      snap.loss?.images?.length,
      last(snap.student_loss),
      snap.student_loss.kl.at(-1),
      this.network,
      snap.recipe.weights,
      snap.budget,
      snap.phase === 'empty',
      width,
      height,
      this.isolatedTerm,
      this.pointerX,
    ]);
    if (key === this.key) return;
    this.key = key;
    const terms = inUse(snap, lossesOf(snap, this.network));
    const names = terms.map((t) => t.name);
    for (const term of terms.filter(({ name }) => !this.legendItems.has(name))) {
      const [name, item] = this.#legendItem(term);
      this.legendItems.set(name, item);
      this.legend.append(item.button);
    }
    const series = this.network === 'student' ? snap.student_loss : snap.loss;
    if (!names.includes(this.isolatedTerm)) this.isolatedTerm = null;
    const { budget } = snap;
    const total = Math.max(1, budget.images);
    this.plot = {
      snap,
      width,
      height,
      x0: LEFT,
      x1: width - RIGHT,
      total,
      stored: budget.used_images,
      curve: lastOfEach(pickColumns(snap.curve, ['accuracy'])),
      opinion: snap.judge ? lastOfEach(pickColumns(snap.opinion, OPINION)) : { images: [] },
      terms,
      loss: lastOfEach(pickColumns(series, names)),
      X: (v) => LEFT + Math.min(1, v / total) * (width - RIGHT - LEFT),
    };
    // heights: caption, accuracy, bar with its numbers, caption, loss
    const free = height - 100;
    const a0 = 20;
    const a1 = Math.round(a0 + free * 0.54);
    Object.assign(this.plot, { a0, a1, bar: a1 + 8, l0: a1 + 60, l1: height - 8 });
    const label =
      snap.curve.last == null
        ? 'No student yet'
        : `Student ${percentage(snap.curve.last)}% after ${num(budget.used_images)} of ${num(budget.images)} images`;
    setChildren(
      this.drawing,
      s(
        'svg',
        {
          viewBox: `0 0 ${width} ${height}`,
          role: 'img',
          'aria-label': `${label}; teacher ${snap.curve.teacher == null ? 'unknown' : `${percentage(snap.curve.teacher)}%`}`,
        },
        this.#drawAccuracy(),
        this.#drawBudget(),
        this.#drawLoss(),
        this.#drawReading(),
      ),
    );
    this.#drawLegend();
  }

  #drawAccuracy() {
    const { snap, x0, x1, a0, a1, X, curve, total } = this.plot;
    const Y = (v) => a1 - v * (a1 - a0);
    const { teacher } = snap.curve;
    /** @type {SVGElement[]} */
    const out = [
      text(
        0,
        8,
        snap.tested_on === 'synthetic'
          ? `agrees with the teacher on ${snap.curve.n ? `${num(snap.curve.n)} ` : ''}held-out synthetic images, %`
          : `correct on ${snap.curve.n ? `${num(snap.curve.n)} ` : ''}${snap.curve.kind}, %`,
      ),
    ];
    for (const v of [0, 0.5, 1])
      out.push(
        s('line', { class: v ? 'grid' : 'axis', x1: x0, x2: x1, y1: Y(v), y2: Y(v) }),
        text(x0 - 8, Y(v) + 4, 100 * v, { 'text-anchor': 'end' }),
      );
    if (teacher != null)
      out.push(
        s('line', { class: 'teacher-line', x1: x0, x2: x1, y1: Y(teacher), y2: Y(teacher) }),
        text(x1 + 12, Y(teacher) + 4, `teacher ${percentage(teacher)}`, { class: 'ink' }),
      );
    const points = curve.images.map((x, i) => [X(x), Y(curve.accuracy[i])]);
    const occupied = teacher == null ? [] : [Y(teacher)];
    if (!points.length) out.push(...this.#drawOpinion(Y, occupied));
    if (!points.length && !this.plot.opinion.images.length) {
      const chance = Math.round(100 / snap.classes.length);
      const lines =
        snap.classes.length < 2
          ? ['Only one class is selected:', 'no student is trained.']
          : [
              `The student starts at chance (${chance}%)`,
              snap.tested_on === 'synthetic'
                ? 'and learns to match the teacher.'
                : 'and climbs toward the dashed line.',
            ];
      return [
        ...out,
        ...lines.map((w, i) =>
          text(X(total / 2), Y(0.5) + 16 + 14 * i, w, { class: 'halo', 'text-anchor': 'middle' }),
        ),
      ];
    }
    if (!points.length) return out;
    const [x, y] = points.at(-1);
    const accuracy = curve.accuracy.at(-1);
    const isNearEdge = x > x1 - 96;
    if (isNearEdge) occupied.push(Math.max(y, teacher == null ? 0 : Y(teacher) + 16));
    out.push(
      ...this.#drawOpinion(Y, occupied),
      s('path', { class: 'student-line', d: `M${line(points)}` }),
      s('circle', { cx: x, cy: y, r: 4, fill: 'var(--ink)' }),
    );
    if (this.#pointerPosition() == null || isNearEdge)
      out.push(
        text(
          isNearEdge ? x1 + 12 : x + 4,
          isNearEdge
            ? Math.max(y + 4, teacher == null ? 0 : Y(teacher) + 20)
            : Math.min(y + 20, a1 - 6),
          snap.tested_on === 'synthetic' && snap.curve.n < MIN_FOR_PERCENT
            ? `${Math.round(accuracy * snap.curve.n)} of ${snap.curve.n}`
            : `student ${percentage(accuracy)}`,
          { class: 'ink halo' },
        ),
      );
    return out;
  }

  /**
   * Draws the second opinion: the share of images that the judge classifies as intended among the
   * selected classes. `occupied` holds the heights of other labels in the margin.
   */
  #drawOpinion(Y, occupied) {
    const { opinion, x1, X, a1, snap } = this.plot;
    const n = opinion.images.length;
    if (!n) return [];
    const share = (name) => `${(100 * opinion[name].at(-1)).toFixed(0)}%`;
    const points = opinion.images.map((x, i) => [X(x), Y(opinion.chosen[i])]);
    const [x, y] = points.at(-1);
    const tip = `${glossaryTip('second-opinion')} ${snap.judge.title} on the newest batch: ${share('chosen')} correct among the ${snap.classes.length} selected classes; among all ${num(snap.judge.classes)}, ${share('top1')} top-1 and ${share('top5')} top-5.`;
    let labelY = y + 4;
    for (const other of [...occupied].sort((a, b) => a - b))
      if (Math.abs(labelY - 4 - other) < 15) labelY = other + 19;
    return [
      s('path', { class: 'opinion-line', d: `M${line(points)}` }),
      s('circle', { cx: x, cy: y, r: 3, fill: 'var(--muted)' }),
      text(
        x1 + 12,
        Math.min(labelY, a1 + 4),
        `second opinion ${(100 * opinion.chosen.at(-1)).toFixed(0)}`,
        { class: 'halo', 'data-tip': tip, tabindex: 0 },
      ),
    ];
  }

  #drawBudget() {
    const { x0, x1, X, bar, total, stored } = this.plot;
    const step = stepFor(total, 3);
    const marginX = x1 + 12;
    const marks = multiples(0, total, step).filter((v) => v === 0 || X(total) - X(v) > 56);
    return [
      s('rect', { x: x0, y: bar, width: x1 - x0, height: 8, rx: 2, fill: 'var(--line)' }),
      s('rect', {
        x: x0,
        y: bar,
        width: Math.max(0, X(stored) - x0),
        height: 8,
        rx: 2,
        fill: 'var(--ink)',
      }),
      text(marginX, bar + 8, `${Math.round((100 * stored) / total)}% of budget`, { class: 'ink' }),
      text(marginX, bar + 24, `${num(stored)} images`),
      [...marks, total].map((v) =>
        text(X(v), bar + 24, num(v), {
          'text-anchor': v === 0 ? 'start' : v === total ? 'end' : 'middle',
        }),
      ),
    ];
  }

  #drawLoss() {
    const { x0, x1, l0, l1, X, terms, loss } = this.plot;
    const n = loss.images.length;
    const out = [];
    const drawnTerms = terms.filter(({ name }) => !this.isolatedTerm || this.isolatedTerm === name);
    const hasReward = drawnTerms.includes(REWARD);
    /** @type {[string, number[], number[]][]} Color, lower and upper edge of each area. */
    const stack = [];
    // Positive values are stacked above zero, negative ones below it.
    const above = new Array(n).fill(0);
    const below = new Array(n).fill(0);
    for (const { name, color } of drawnTerms.toReversed()) {
      const values = loss[name];
      const sides = [values.some((v) => v > 0) && above, values.some((v) => v < 0) && below];
      for (const base of sides.some(Boolean) ? sides.filter(Boolean) : [above]) {
        const from = base.slice();
        values.forEach((v, i) => {
          if (base === above ? v > 0 : v < 0) base[i] += v;
        });
        stack.push([color, from, base.slice()]);
      }
    }
    const high = Math.max(0, ...above);
    const low = Math.min(0, ...below);
    const span = high - low || 1;
    const [top, bottom] = n ? [high + 0.04 * span, low - 0.04 * span] : [4, hasReward ? -2 : 0];
    const Z = (v) => l0 + ((top - v) / (top - bottom)) * (l1 - l0);
    const step = stepFor(top - bottom, Math.max(2, (l1 - l0) / 26));
    const digits = step < 0.095 ? 2 : step < 0.95 ? 1 : 0;
    for (const v of multiples(bottom, top, step))
      out.push(
        s('line', { class: 'grid', x1: x0, x2: x1, y1: Z(v), y2: Z(v) }),
        text(
          x0 - 8,
          Z(v) + 4,
          signed(Math.abs(v) < 1e-9 ? 0 : v, Math.abs(v) < 1e-9 ? 0 : digits),
          { 'text-anchor': 'end' },
        ),
      );
    for (const [color, from, to] of stack)
      if (n)
        out.push(
          s('path', {
            style: { fill: color },
            d: `M${line(to.map((v, i) => [X(loss.images[i]), Z(v)]))}L${line(from.map((v, i) => [X(loss.images[i]), Z(v)]).reverse())}Z`,
          }),
        );
    out.push(s('line', { class: 'axis', x1: x0, x2: x1, y1: Z(0), y2: Z(0) }));
    return out;
  }

  /**
   * Draws the names and values of the terms. Their buttons survive redraws, so no click or focus is
   * lost.
   */
  #drawLegend() {
    const { x1, l0, l1, terms, loss } = this.plot;
    const pitch = Math.min(20, (l1 - l0 + 12) / Math.max(2, terms.length));
    const index = this.#nearestIndex(loss.images);
    this.legend.style.left = `${x1 + 8}px`;
    this.legend.style.top = `${l0 - 12}px`;
    this.networkSwitch.style.top = `${l0 - 22}px`;
    for (const button of /** @type {Iterable<HTMLElement>} */ (this.networkSwitch.children))
      setAttr(button, 'aria-pressed', String(button.dataset.of === this.network));
    for (const [name, { button, value }] of this.legendItems) {
      setAttr(button, 'hidden', !terms.some((t) => t.name === name));
      if (button.hidden) continue;
      button.style.height = `${pitch}px`;
      setText(
        value,
        loss.images.length ? signed(loss[name][index]).replace(/^(−?)0\./, '$1.') : '',
      );
      setAttr(button, 'aria-pressed', String(this.isolatedTerm === name));
      button.classList.toggle('dim', Boolean(this.isolatedTerm) && this.isolatedTerm !== name);
    }
  }

  /**
   * @param {Term} term
   * @returns {[string, { button: HTMLButtonElement, value: HTMLElement }]}
   */
  #legendItem({ name, title, tip, color }) {
    const value = h('span', { class: 'muted' });
    const button = h(
      'button',
      {
        type: 'button',
        'data-part': name,
        'data-tip': `${tip} Click to show only this term; click again to show all.`,
        onclick: () => {
          this.isolatedTerm = this.isolatedTerm === name ? null : name;
          this.#redrawSoon();
        },
      },
      h('i', { style: { background: color } }),
      h('span', null, title),
      value,
    );
    return [name, { button, value }];
  }

  /** The x position at which the pointer reads the curves; null elsewhere. */
  #pointerPosition() {
    return this.pointerX != null && this.pointerX >= this.plot.x0 && this.pointerX <= this.plot.x1
      ? this.pointerX
      : null;
  }

  /** Finds the sample nearest to the pointer, or the newest one if the pointer is elsewhere. */
  #nearestIndex(images) {
    const { X } = this.plot;
    const pointer = this.#pointerPosition();
    if (pointer == null || !images.length) return images.length - 1;
    return images.reduce(
      (best, x, i) => (Math.abs(X(x) - pointer) < Math.abs(X(images[best]) - pointer) ? i : best),
      0,
    );
  }

  #drawReading() {
    const { x0, x1, X, a0, a1, l1, curve, loss } = this.plot;
    if (this.#pointerPosition() == null || !loss.images.length) return null;
    const x = X(loss.images[this.#nearestIndex(loss.images)]);
    const index = this.#nearestIndex(curve.images);
    /** @type {SVGElement[]} */
    const out = [s('line', { class: 'axis', x1: x, x2: x, y1: a0, y2: l1 })];
    if (curve.images.length) {
      const y = a1 - curve.accuracy[index] * (a1 - a0);
      const cx = X(curve.images[index]);
      const isLeft = cx > (x0 + x1) / 2;
      out.push(
        s('circle', { cx, cy: y, r: 3, fill: 'var(--ink)' }),
        text(
          cx + (isLeft ? -6 : 6),
          Math.max(a0 + 30, y + 16),
          `${percentage(curve.accuracy[index])}% after ${num(curve.images[index])} images`,
          { class: 'ink halo', 'text-anchor': isLeft ? 'end' : 'start' },
        ),
      );
    }
    const { opinion, snap } = this.plot;
    const opinionIndex = this.#nearestIndex(opinion.images);
    if (opinion.images.length) {
      const y = a1 - opinion.chosen[opinionIndex] * (a1 - a0);
      const cx = X(opinion.images[opinionIndex]);
      const isLeft = cx > (x0 + x1) / 2;
      out.push(
        s('circle', { cx, cy: y, r: 3, fill: 'var(--muted)' }),
        text(
          cx + (isLeft ? -6 : 6),
          Math.min(a1 - 6, y + 16),
          `${snap.judge.title}: ${(100 * opinion.chosen[opinionIndex]).toFixed(0)}%`,
          { class: 'halo', 'text-anchor': isLeft ? 'end' : 'start' },
        ),
      );
    }
    return out;
  }
}
