// The top bar: which run is shown, the command that makes the same one, light or dark; and the
// downloads.

import { h, setAttr, setText } from '../core/dom.js';
import { href, write } from '../core/address.js';

/** @import { Snapshot } from '../core/types.js' */

const BUNDLE =
  'The student as safetensors and ONNX, with class names, a card of facts and code that loads it. Takes some seconds.';

/** What one page alone reads; it stays in the address for the way back to that page. */
const OF = { lesson: 'lessons', runs: 'compare', point: 'compare' };

/** The top bar. */
export class Header {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {string} hooks.base
   * @param {() => string} hooks.command The command for what the form says.
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
        write({ __theme: document.body.classList.toggle('dark') ? 'dark' : 'light' }),
      );
    this.bundle.addEventListener('click', () => this.#export(this.snap.run));
    this.student.addEventListener('click', (e) => {
      if (this.student.ariaDisabled === 'true') e.preventDefault();
    });
  }

  /** Closes the sheet with the command. */
  close() {
    if (!this.card.hidden) {
      this.#open(false);
      this.title.focus();
    }
  }

  /**
   * Draws the run's title and links.
   * @param {Snapshot} snap
   */
  draw(snap) {
    this.snap = snap;
    setAttr(
      this.title,
      'data-tip',
      snap.run
        ? `The Studio's run, ${snap.run}, and the command that makes the same one. Everyone who opens this address sees the same run.`
        : 'The command that makes the run of this form.',
    );
    setText(
      this.title,
      `${document.body.dataset.page === 'studio' ? '' : 'Studio: '}${snap.title || 'no run yet'}`,
    ); // other pages show runs of their own
    if (this.card.hidden) this.#say(); // what is selected in it stays
    const run = snap.run && encodeURIComponent(snap.run);
    setAttr(this.csv, 'hidden', !run);
    setAttr(this.csv, 'href', run && `${this.base}/kg/csv/${run}`);
    setAttr(this.bundle, 'hidden', !snap.student_ready);
    if (this.exported !== `${snap.run} ${snap.attempt}`) {
      // what the last export said belongs to its run
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
        : 'Ready when the run has finished or was stopped',
    );
  }

  /** The command of the run that is shown; before any, of what the form says now. */
  #say() {
    const { snap } = this;
    this.text = snap.phase !== 'empty' ? snap.command : this.command() || snap.command;
    setText(this.card.querySelector('p'), 'The same run from a terminal:');
    setText(this.card.querySelector('code'), this.text);
    setText(this.card.querySelector('.machine'), snap.machine ? `Made on ${snap.machine}.` : '');
  }

  /** Some seconds of work for the server: say so meanwhile, and what is missing afterwards. */
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
      said = error instanceof TypeError ? 'The server does not answer.' : error.message;
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

  /** The address of this view, into the clipboard; without one, selected in the sheet. */
  async #share() {
    const { page } = document.body.dataset;
    const { snap } = this;
    const link = href({
      __theme: null,
      speed: null, // the reader's own
      ...Object.fromEntries(
        Object.entries(OF)
          .filter(([, of]) => of !== page)
          .map(([name]) => [name, null]),
      ),
      ...(page === 'inspect' && snap?.run && !new URLSearchParams(location.search).get('run')
        ? { run: snap.run }
        : {}),
    });
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
      setText(this.card.querySelector('p'), 'A link to this view; press Ctrl-C:');
      this.#select(link);
    }
  }

  /** For Ctrl-C, where there is no clipboard: outside a secure context. */
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
      setText(button, 'Selected; press Ctrl-C');
    }
    setTimeout(() => setText(button, said), 1600);
  }
}
