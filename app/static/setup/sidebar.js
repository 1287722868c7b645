// The setup sidebar. Gradio renders its controls. The snapshot determines which of them are shown
// and locked, so that everyone sees the same form. The server decides whether an action is allowed.

import { current } from './class_picker.js';
import { FolderCheck } from './folder_check.js';
import { num, setAttr, setText } from '../core/dom.js';
import { teacherCard } from './teacher_card.js';

/** @import { PanelState, Snapshot } from '../core/types.js' */

export const ACTIVE = ['starting', 'running', 'paused', 'stopping'];

/** @type {(selector: string) => NodeListOf<HTMLElement>} */
const labels = (selector) => document.querySelectorAll(selector);

/** The setup sidebar. */
export class Sidebar {
  /**
   * @param {object} hooks
   * @param {string} hooks.base Where the app is served.
   * @param {() => void} hooks.repaint Makes Gradio redraw the form.
   * @param {(c: number) => number} hooks.colorOf
   * @param {() => void} hooks.redraw
   * @param {() => number} hooks.secondsOffline Seconds without a response from the server; 0 if
   *   it responds.
   */
  constructor({ base, repaint, colorOf, redraw, secondsOffline }) {
    this.secondsOffline = secondsOffline;
    this.repaint = repaint;
    this.colorOf = colorOf;
    this.redraw = redraw;
    /** @type {HTMLElement} */
    this.root = document.querySelector('#kg-rail');
    this.setup = this.root.querySelector('#kg-setup');
    this.folderCheck = new FolderCheck(base);
    this.root.addEventListener('input', () => this.#updateBudget());
    this.root.addEventListener('click', (e) => {
      if (/** @type {HTMLElement} */ (e.target).closest('#kg-sheet'))
        this.setSheetOpen(!this.root.classList.contains('open'));
    });
    // Gradio marks selected options with a CSS class, no matter what selected them
    new MutationObserver(() => this.#updateBudget()).observe(this.setup, {
      subtree: true,
      attributeFilter: ['class'],
    });
    this.#labelControls();
    document.addEventListener('kg-teacher', (e) => {
      // sent by the class picker: the form now has another teacher
      this.selectedTeacher = /** @type {CustomEvent} */ (e).detail;
      this.redraw();
      if (this.snap && !ACTIVE.includes(this.snap.phase))
        teacherCard({
          teacher: this.selectedTeacher.card,
          student: this.selectedTeacher.student,
          scales: [],
        });
      this.#updateBudget();
    });
  }

  /** Adds names and tooltips, which Gradio's components do not support. */
  #labelControls() {
    const texts = document.getElementById('kg-texts').dataset;
    this.expectations = JSON.parse(texts.without);
    /** @type {[string, string[]][]} */
    const tips = JSON.parse(texts.tips);
    const labelFields = () => {
      for (const [id, list] of tips)
        labels(`#${id} label`).forEach((label, i) => {
          label.dataset.tip = list[i];
        });
    };
    labelFields();
    // Gradio draws the fields under More when it is first opened
    new MutationObserver(labelFields).observe(document.getElementById('kg-more'), {
      childList: true,
      subtree: true,
    });
    const buttonTips = {
      'kg-step': 'Run one step, then pause. Key: period',
      'kg-stop': 'Stop the run. Everything so far is saved.',
      'kg-pause': 'Pause after the current step. Key: space',
      'kg-continue': 'Continue. Key: space',
    };
    for (const [id, tip] of Object.entries(buttonTips))
      document.getElementById(id).dataset.tip = tip;
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
   * @param {boolean} isOpen
   */
  setSheetOpen(isOpen) {
    this.root.classList.toggle('open', isOpen);
    setAttr(this.root.querySelector('#kg-sheet'), 'aria-expanded', String(isOpen));
  }

  /**
   * Shows, locks and counts the controls.
   * @param {PanelState} state With the live snapshot.
   */
  draw({ snapshot: snap }) {
    const isOffline = this.secondsOffline() > 0;
    this.snap = snap;
    const { phase } = snap;
    const isActive = ACTIVE.includes(phase);
    const runKey = `${snap.run} ${snap.attempt} ${isActive}`;
    if (this.runKey != null && this.runKey !== runKey) {
      this.repaint();
      if (isActive) this.setSheetOpen(false);
    } // another viewer may have started the run
    this.runKey = runKey;
    const focused = document.activeElement?.id;
    this.#updateButton(
      'kg-start',
      !isActive || phase === 'starting',
      phase === 'starting' || isOffline,
    );
    this.#updateButton(
      'kg-pause',
      phase === 'running' || phase === 'stopping',
      phase === 'stopping' || isOffline,
    );
    this.#updateButton('kg-continue', phase === 'paused', isOffline);
    this.#updateButton('kg-step', true, phase !== 'paused' || isOffline);
    const canStop = ['running', 'paused'].includes(phase) || snap.can_skip;
    this.#updateButton('kg-stop', true, !canStop || isOffline);
    if (
      ['kg-start', 'kg-pause', 'kg-continue'].includes(focused) &&
      document.activeElement === document.body
    )
      this.#primaryButton()?.focus();
    this.root.classList.toggle('locked', isActive);
    for (const control of this.setup.querySelectorAll('input, button'))
      if (!control.closest('#kg-classes') && !control.matches('.label-wrap'))
        setAttr(control, 'disabled', isActive);
    current()?.lock(isActive);
    this.folderCheck.lock(isActive);
    // after a run, the card shows the selected teacher
    if (isActive || !this.selectedTeacher || this.cardKey !== runKey) teacherCard(snap);
    this.cardKey = runKey;
    this.#updateBudget();
  }

  #primaryButton() {
    return ['kg-start', 'kg-pause', 'kg-continue']
      .map((id) => /** @type {HTMLButtonElement} */ (document.getElementById(id)))
      .find((b) => !b.hidden && !b.disabled);
  }

  /**
   * Returns the title of the form's teacher if the run has another one.
   * @param {Snapshot} snap
   * @returns {string | null}
   */
  otherTeacher(snap) {
    // the class picker may have announced its teacher before the sidebar existed
    const card = (this.selectedTeacher ?? current()?.facts)?.card;
    return card && card.title !== snap.teacher.title ? card.title : null;
  }

  /** Pauses or continues the run, but never starts one. */
  toggle() {
    const button = this.#primaryButton();
    if (button && button.id !== 'kg-start') button.click();
  }

  /** Takes one step. */
  step() {
    const button = /** @type {HTMLButtonElement} */ (document.getElementById('kg-step'));
    if (!button.disabled) button.click();
  }

  #updateButton(id, visible, disabled) {
    const button = document.getElementById(id);
    setAttr(button, 'hidden', !visible);
    setAttr(button, 'disabled', Boolean(disabled));
  }

  #updateBudget() {
    const teacher = this.selectedTeacher?.card ?? this.snap?.teacher;
    this.#drawExpectation();
    const sides = [...this.root.querySelectorAll('#kg-side label:has(:checked)')].map((label) =>
      parseInt(label.textContent, 10),
    );
    /** @type {HTMLInputElement} */
    const budget = this.root.querySelector('#kg-budget input[type=range]');
    const share = +budget.value;
    if (!teacher || !sides.length) return;
    const pixels = Math.floor((share / 100) * teacher.n_train * teacher.side ** 2 + 1e-6);
    const imageCounts = sides.map((side) =>
      Math.floor(Math.floor(pixels / sides.length) / side ** 2),
    );
    for (const label of labels('#kg-rail #kg-side label')) {
      const side = parseInt(label.textContent, 10);
      label.dataset.tip = `${num(side * side)} pixels, ${+((100 * side * side) / teacher.side ** 2).toPrecision(2)}% of a full-size image, so a step takes about that share of the time. The budget holds ${num(Math.floor(pixels / side ** 2))} such images.`;
    }
    const images = num(imageCounts.reduce((a, b) => a + b, 0));
    setText(
      document.getElementById('kg-budget-out'),
      `${+share.toFixed(4)}% · ${images} images${sides.length > 1 ? '' : ` at ${sides[0]} × ${sides[0]}`}`,
    );
  }

  /** Says what to expect without the rung that was switched off last. */
  #drawExpectation() {
    /** @type {NodeListOf<HTMLInputElement>} */
    const boxes = this.root.querySelectorAll('#kg-ladder input');
    const offRungs = [...boxes].map((box, i) => (box.checked ? -1 : i)).filter((i) => i >= 0);
    const switchedOff = offRungs.find((i) => this.offRungs && !this.offRungs.includes(i));
    if (!offRungs.includes(this.lastSwitchedOff)) this.lastSwitchedOff = null;
    if (switchedOff != null) this.lastSwitchedOff = switchedOff;
    this.offRungs = offRungs;
    setText(
      document.getElementById('kg-expect'),
      this.expectations[this.lastSwitchedOff] ??
        (offRungs.length
          ? 'Turn off an idea to see what to expect without it.'
          : 'All ideas are on: the full method.'),
    );
    const all = boxes.length;
    setText(
      document.getElementById('kg-custom'),
      this.root.querySelector('#kg-preset input:checked')
        ? ''
        : `${all - offRungs.length} of ${all} ideas`,
    );
  }
}
