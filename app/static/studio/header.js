// The top bar: which run is shown, the command to reproduce it, the theme switch, and the
// downloads.

import { h, setAttr, setText } from '../core/dom.js';
import * as address from '../core/address.js';

/** @import { Shown } from '../core/types.js' */

const BUNDLE =
  'The student as safetensors and ONNX, with class names, a model card and loading code. Takes a few seconds.';

/** The top bar. */
export class Header {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {string} hooks.base
   * @param {() => string} hooks.command The command for the current form.
   * @param {(node: HTMLElement) => void} hooks.explain Opens the tip of an element.
   */
  constructor(view, { base, command, explain }) {
    this.base = base;
    this.command = command;
    this.explain = explain;
    /** @type {HTMLElement} */
    this.title = view.querySelector('.nav .title');
    /** @type {HTMLElement} */
    this.card = view.querySelector('.command');
    /** @type {HTMLAnchorElement} */
    this.csv = view.querySelector('.csv');
    /** @type {HTMLAnchorElement} */
    this.student = view.querySelector('.student');
    /** @type {HTMLElement} */
    this.bundle = view.querySelector('.bundle');
    this.title.addEventListener('click', () => this.#open(this.card.hidden));
    document.addEventListener('pointerdown', (e) => {
      const at = /** @type {Node} */ (e.target);
      if (!this.card.contains(at) && !this.title.contains(at)) this.#open(false);
    });
    this.card
      .querySelector('.copy')
      .addEventListener('click', (e) => this.#copy(e.currentTarget, this.text));
    /** @type {HTMLElement} */
    this.link = view.querySelector('.copy-view');
    this.link.addEventListener('click', () => this.#share());
    view
      .querySelector('.theme')
      .addEventListener('click', () =>
        address.write({ __theme: document.body.classList.toggle('dark') ? 'dark' : 'light' }),
      );
    this.bundle.addEventListener('click', () => this.#export(this.snap.run));
    this.student.addEventListener('click', (e) => {
      if (this.student.ariaDisabled === 'true') e.preventDefault();
    });
  }

  /** Closes the command sheet. */
  close() {
    if (!this.card.hidden) {
      this.#open(false);
      this.title.focus();
    }
  }

  /**
   * Draws the run's title and links.
   * @param {Shown} shown With the live snapshot.
   */
  draw({ snapshot: snap }) {
    this.snap = snap;
    setAttr(
      this.title,
      'data-tip',
      snap.run
        ? `The Studio’s run, ${snap.run}, and the command to reproduce it. Everyone at this address sees the same run.`
        : 'The command for the run set up in this form.',
    );
    setText(
      this.title,
      `${document.body.dataset.page === 'studio' ? '' : 'Studio: '}${snap.title || 'no run yet'}`,
    ); // other pages show other runs
    if (this.card.hidden) this.#say(); // keep any selected text
    const run = snap.run && encodeURIComponent(snap.run);
    setAttr(this.csv, 'hidden', !run);
    setAttr(this.csv, 'href', run && `${this.base}/kg/csv/${run}`);
    setAttr(this.bundle, 'hidden', !snap.student_ready);
    if (this.exported !== `${snap.run} ${snap.attempt}`) {
      // the last export's message belongs to its run
      this.exported = `${snap.run} ${snap.attempt}`;
      setAttr(this.bundle, 'data-tip', BUNDLE);
    }
    setAttr(this.student, 'aria-disabled', String(!snap.student_ready));
    setAttr(this.student, 'tabindex', 0);
    setAttr(this.student, 'href', snap.student_ready ? `${this.base}/kg/student/${run}` : null);
    setAttr(this.student, 'download', Boolean(snap.student_ready));
    setAttr(
      this.student,
      'data-tip',
      snap.student_ready
        ? 'The trained student as a safetensors file'
        : 'Available when the run finishes or is stopped',
    );
  }

  /** The command of the run being shown; before any run, the command for the current form. */
  #say() {
    const { snap } = this;
    this.text = snap.phase !== 'empty' ? snap.command : this.command() || snap.command;
    setText(this.card.querySelector('p'), 'Run this from a terminal:');
    setText(this.card.querySelector('code'), this.text);
    setText(this.card.querySelector('.machine'), snap.machine ? `Trained on ${snap.machine}.` : '');
  }

  /**
   * The server needs a few seconds: say so while it works, and report afterwards what is missing.
   */
  async #export(run) {
    if (this.bundle.ariaBusy === 'true') return;
    this.bundle.ariaBusy = 'true';
    setText(this.bundle, 'Exporting…');
    let said = '';
    try {
      const answer = await fetch(`${this.base}/kg/export/${encodeURIComponent(run)}`);
      const note = answer.headers.get('X-KGen-Note');
      if (!answer.ok) throw new Error(await answer.text());
      const link = h('a', {
        href: URL.createObjectURL(await answer.blob()),
        download: `${run}-student.zip`,
      });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      if (note) said = `Exported without ONNX. ${decodeURIComponent(note)}`;
    } catch (error) {
      said = error instanceof TypeError ? 'The server is not responding.' : error.message;
    }
    this.bundle.ariaBusy = 'false';
    setText(this.bundle, 'Export ZIP');
    setAttr(this.bundle, 'data-tip', said || BUNDLE);
    if (said) this.explain(this.bundle);
  }

  #open(on) {
    if (this.card.hidden !== on) return;
    if (on) this.#say();
    this.card.hidden = !on;
    setAttr(this.title, 'aria-expanded', String(on));
    if (on) /** @type {HTMLElement} */ (this.card.querySelector('.copy')).focus();
  }

  /** Copies the address of this view; without a clipboard, selects it in the sheet. */
  async #share() {
    const { page } = document.body.dataset;
    const { snap } = this;
    const link = address.copied(
      page,
      page === 'inspect' ? { run: address.read(page).run ?? snap?.run } : {},
    );
    try {
      await navigator.clipboard.writeText(link);
      this.link.classList.add('copied');
      setAttr(this.link, 'aria-label', 'Copied');
      setTimeout(() => {
        this.link.classList.remove('copied');
        setAttr(this.link, 'aria-label', 'Copy a link to this view');
      }, 1600);
    } catch {
      this.#open(true);
      this.text = link;
      setText(this.card.querySelector('p'), 'Link to this view. Press Ctrl-C to copy:');
      this.#select(link);
    }
  }

  /** For Ctrl-C where there is no clipboard, outside a secure context. */
  #select(text) {
    const code = this.card.querySelector('code');
    setText(code, text);
    getSelection().selectAllChildren(code);
  }

  async #copy(button, text) {
    const said = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      setText(button, 'Copied');
    } catch {
      this.#select(text);
      setText(button, 'Press Ctrl-C to copy');
    }
    setTimeout(() => setText(button, said), 1600);
  }
}
