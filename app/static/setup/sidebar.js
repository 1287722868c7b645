// The setup sidebar. Its controls are Gradio's; the snapshot determines which of them are shown or
// locked, so that every viewer sees the same. The server decides whether an action is allowed.

import { current } from './class_picker.js';
import { num, setAttr, setText } from '../core/dom.js';
import { teacherCard } from './teacher_card.js';

/** @import { Shown, Snapshot } from '../core/types.js' */

export const ACTIVE = ['starting', 'running', 'paused', 'stopping'];

/** @type {(selector: string) => NodeListOf<HTMLElement>} */
const labels = (selector) => document.querySelectorAll(selector);

/** The setup sidebar. */
export class Sidebar {
  /**
   * @param {object} hooks
   * @param {() => void} hooks.repaint Has Gradio draw the form again.
   * @param {(c: number) => number} hooks.colour
   * @param {() => void} hooks.redraw
   * @param {() => number} hooks.away Seconds since the server last answered, if too many; or 0.
   */
  constructor({ repaint, colour, redraw, away }) {
    this.away = away;
    this.repaint = repaint;
    this.colour = colour;
    this.redraw = redraw;
    /** @type {HTMLElement} */
    this.root = document.querySelector('#kg-rail');
    this.setup = this.root.querySelector('#kg-setup');
    this.root.addEventListener('input', () => this.#count());
    this.root.addEventListener('click', (e) => {
      if (/** @type {HTMLElement} */ (e.target).closest('#kg-sheet'))
        this.sheet(!this.root.classList.contains('open'));
    });
    // Gradio marks what is selected with a CSS class, whether a click, another control or the run
    // being shown selected it
    new MutationObserver(() => this.#count()).observe(this.setup, {
      subtree: true,
      attributeFilter: ['class'],
    });
    this.#dress();
    document.addEventListener('kg-teacher', (e) => {
      // sent by the class picker: the form now has another teacher
      this.choice = /** @type {CustomEvent} */ (e).detail;
      this.redraw();
      if (this.snap && !ACTIVE.includes(this.snap.phase))
        teacherCard({ teacher: this.choice.card, student: this.choice.student, scales: [] });
      this.#count();
    });
  }

  /** Names and tooltips that Gradio's components do not support. */
  #dress() {
    const texts = document.getElementById('kg-texts').dataset;
    this.without = JSON.parse(texts.without);
    for (const [id, list] of JSON.parse(texts.tips))
      labels(`#${id} label`).forEach((label, i) => {
        label.dataset.tip = list[i];
      });
    const tips = {
      'kg-step': 'Run one step, then pause. Key: period',
      'kg-stop': 'Stop the run. Everything so far is saved.',
      'kg-pause': 'Pause after the current step. Key: space',
      'kg-continue': 'Continue. Key: space',
    };
    for (const [id, tip] of Object.entries(tips)) document.getElementById(id).dataset.tip = tip;
    for (const [id, name] of Object.entries({
      'kg-ladder': 'Method',
      'kg-recipe': 'Recipe',
      'kg-side': 'Resolution',
      'kg-source': 'Image source',
      'kg-preset': 'Method preset',
      'kg-unit': 'Step size',
    }))
      document.getElementById(id).setAttribute('aria-label', name);
    setAttr(this.root.querySelector('#kg-sheet'), 'aria-expanded', 'false');
  }

  /**
   * Opens or closes the phone's sheet.
   * @param {boolean} open
   */
  sheet(open) {
    this.root.classList.toggle('open', open);
    setAttr(this.root.querySelector('#kg-sheet'), 'aria-expanded', String(open));
  }

  /**
   * Shows, locks and counts the controls.
   * @param {Shown} shown With the live snapshot.
   */
  draw({ snapshot: snap }) {
    const away = this.away() > 0;
    this.snap = snap;
    const { phase } = snap;
    const active = ACTIVE.includes(phase);
    const mark = `${snap.run} ${snap.attempt} ${active}`;
    if (this.mark != null && this.mark !== mark) {
      this.repaint();
      if (active) this.sheet(false);
    } // another viewer may have started the run
    this.mark = mark;
    const focused = document.activeElement?.id;
    this.#button('kg-start', !active || phase === 'starting', phase === 'starting' || away);
    this.#button(
      'kg-pause',
      phase === 'running' || phase === 'stopping',
      phase === 'stopping' || away,
    );
    this.#button('kg-continue', phase === 'paused', away);
    this.#button('kg-step', true, phase !== 'paused' || away);
    this.#button('kg-stop', true, !['running', 'paused'].includes(phase) || away);
    if (
      ['kg-start', 'kg-pause', 'kg-continue'].includes(focused) &&
      document.activeElement === document.body
    )
      this.#go()?.focus();
    this.root.classList.toggle('locked', active);
    for (const control of this.setup.querySelectorAll('input, button'))
      if (!control.closest('#kg-classes') && !control.matches('.label-wrap'))
        setAttr(control, 'disabled', active);
    current()?.lock(active);
    // after a run, the card shows the selected teacher
    if (active || !this.choice || this.shown !== mark) teacherCard(snap);
    this.shown = mark;
    this.#count();
  }

  #go() {
    return ['kg-start', 'kg-pause', 'kg-continue']
      .map((id) => /** @type {HTMLButtonElement} */ (document.getElementById(id)))
      .find((b) => !b.hidden && !b.disabled);
  }

  /**
   * Names the teacher of the form if it is not the shown run's.
   * @param {Snapshot} snap
   * @returns {string | null}
   */
  other(snap) {
    // the class picker may have announced its teacher before this existed
    const card = (this.choice ?? current()?.facts)?.card;
    return card && card.title !== snap.teacher.title ? card.title : null;
  }

  /** Pauses or continues the run, but never starts one. */
  toggle() {
    const button = this.#go();
    if (button && button.id !== 'kg-start') button.click();
  }

  /** Takes one step. */
  step() {
    const button = /** @type {HTMLButtonElement} */ (document.getElementById('kg-step'));
    if (!button.disabled) button.click();
  }

  #button(id, shown, disabled) {
    const button = document.getElementById(id);
    setAttr(button, 'hidden', !shown);
    setAttr(button, 'disabled', Boolean(disabled));
  }

  #count() {
    const teacher = this.choice?.card ?? this.snap?.teacher;
    this.#expect();
    const sides = [...this.root.querySelectorAll('#kg-side label:has(:checked)')].map((label) =>
      parseInt(label.textContent, 10),
    );
    /** @type {HTMLInputElement} */
    const budget = this.root.querySelector('#kg-budget input[type=range]');
    const share = +budget.value;
    if (!teacher || !sides.length) return;
    const pixels = Math.floor((share / 100) * teacher.n_train * teacher.side ** 2 + 1e-6);
    const each = sides.map((side) => Math.floor(Math.floor(pixels / sides.length) / side ** 2));
    for (const label of labels('#kg-rail #kg-side label')) {
      const side = parseInt(label.textContent, 10);
      label.dataset.tip = `${num(side * side)} pixels, ${+((100 * side * side) / teacher.side ** 2).toPrecision(2)}% of a full-size image, so a step takes about that share of the time. The budget fits ${num(Math.floor(pixels / side ** 2))} such images.`;
    }
    const images = num(each.reduce((a, b) => a + b, 0));
    setText(
      document.getElementById('kg-budget-out'),
      `${+share.toFixed(4)}% · ${images} images${sides.length > 1 ? '' : ` of ${sides[0]} × ${sides[0]}`}`,
    );
  }

  /** What to expect without the rung switched off last. */
  #expect() {
    /** @type {NodeListOf<HTMLInputElement>} */
    const boxes = this.root.querySelectorAll('#kg-ladder input');
    const off = [...boxes].map((box, i) => (box.checked ? -1 : i)).filter((i) => i >= 0);
    const flipped = off.find((i) => this.off && !this.off.includes(i));
    if (!off.includes(this.missing)) this.missing = null;
    if (flipped != null) this.missing = flipped;
    this.off = off;
    setText(
      document.getElementById('kg-expect'),
      this.without[this.missing] ??
        (off.length
          ? 'Turn off an idea to see what to expect without it.'
          : 'All ideas are on: the full method.'),
    );
    const all = boxes.length;
    setText(
      document.getElementById('kg-custom'),
      this.root.querySelector('#kg-preset input:checked')
        ? ''
        : `${all - off.length} of ${all} ideas`,
    );
  }
}
