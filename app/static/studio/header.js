// The top bar: which run is shown, the command to reproduce it, the theme switch, and the
// downloads.

import { h, setAttr, setText } from '../core/dom.js';
import * as address from '../core/address.js';
import { request } from '../core/server.js';

/** @import { PanelState } from '../core/types.js' */

const EXPORT_TIP =
  'The student as safetensors and ONNX, with class names, a model card, and loading code. Takes a few seconds.';

/** The top bar. */
export class Header {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {string} hooks.base
   * @param {() => string} hooks.command The command for the current form.
   * @param {(node: HTMLElement) => void} hooks.showTip Opens the tip of an element.
   */
  constructor(view, { base, command, showTip }) {
    this.base = base;
    this.command = command;
    this.showTip = showTip;
    /** @type {HTMLElement} */
    this.titleButton = view.querySelector('.nav .title');
    /** @type {HTMLElement} */
    this.commandSheet = view.querySelector('.command');
    /** @type {HTMLAnchorElement} */
    this.csvLink = view.querySelector('.csv');
    /** @type {HTMLAnchorElement} */
    this.studentLink = view.querySelector('.student');
    /** @type {HTMLElement} */
    this.exportButton = view.querySelector('.bundle');
    this.titleButton.addEventListener('click', () => this.#setSheetOpen(this.commandSheet.hidden));
    document.addEventListener('pointerdown', (e) => {
      const at = /** @type {Node} */ (e.target);
      if (!this.commandSheet.contains(at) && !this.titleButton.contains(at))
        this.#setSheetOpen(false);
    });
    this.commandSheet
      .querySelector('.copy')
      .addEventListener('click', (e) => this.#copy(e.currentTarget, this.copyText));
    /** @type {HTMLElement} */
    this.copyLinkButton = view.querySelector('.copy-view');
    this.copyLinkButton.addEventListener('click', () => this.#copyLink());
    view
      .querySelector('.theme')
      .addEventListener('click', () =>
        address.write({ __theme: document.body.classList.toggle('dark') ? 'dark' : 'light' }),
      );
    this.exportButton.addEventListener('click', () => this.#export(this.snap.run));
    this.studentLink.addEventListener('click', (e) => {
      if (this.studentLink.ariaDisabled === 'true') e.preventDefault();
    });
  }

  /** Closes the command sheet. */
  close() {
    if (!this.commandSheet.hidden) {
      this.#setSheetOpen(false);
      this.titleButton.focus();
    }
  }

  /**
   * Draws the run's title and links.
   * @param {PanelState} state With the live snapshot.
   */
  draw({ snapshot: snap }) {
    this.snap = snap;
    setAttr(
      this.titleButton,
      'data-tip',
      snap.run
        ? `The Studio’s run, ${snap.run}, and the command to reproduce it. Everyone at this address sees the same run.`
        : 'The command for the run set up in this form.',
    );
    setText(
      this.titleButton,
      `${document.body.dataset.page === 'studio' ? '' : 'Studio: '}${snap.title || 'no run yet'}`,
    ); // other pages show other runs
    if (this.commandSheet.hidden) this.#showCommand(); // keep any selected text
    const run = snap.run && encodeURIComponent(snap.run);
    setAttr(this.csvLink, 'hidden', !run);
    setAttr(this.csvLink, 'href', run && `${this.base}/kg/csv/${run}`);
    setAttr(this.exportButton, 'hidden', !snap.student_ready);
    if (this.exportKey !== `${snap.run} ${snap.attempt}`) {
      // the last export's message belongs to its run
      this.exportKey = `${snap.run} ${snap.attempt}`;
      setAttr(this.exportButton, 'data-tip', EXPORT_TIP);
    }
    setAttr(this.studentLink, 'aria-disabled', String(!snap.student_ready));
    setAttr(this.studentLink, 'tabindex', 0);
    setAttr(this.studentLink, 'href', snap.student_ready ? `${this.base}/kg/student/${run}` : null);
    setAttr(this.studentLink, 'download', Boolean(snap.student_ready));
    setAttr(
      this.studentLink,
      'data-tip',
      snap.student_ready
        ? 'The trained student as a safetensors file'
        : 'Available when the run finishes or is stopped',
    );
  }

  /** The command of the run being shown; before any run, the command for the current form. */
  #showCommand() {
    const { snap } = this;
    this.copyText = snap.phase !== 'empty' ? snap.command : this.command() || snap.command;
    setText(this.commandSheet.querySelector('p'), 'Run this from a terminal:');
    setText(this.commandSheet.querySelector('code'), this.copyText);
    setText(
      this.commandSheet.querySelector('.machine'),
      snap.machine ? `Trained on ${snap.machine}.` : '',
    );
  }

  /**
   * The server needs a few seconds: say so while it works, and report afterward what is missing.
   */
  async #export(run) {
    if (this.exportButton.ariaBusy === 'true') return;
    this.exportButton.ariaBusy = 'true';
    setText(this.exportButton, 'Exporting…');
    let message = '';
    try {
      const response = await request(`${this.base}/kg/export/${encodeURIComponent(run)}`);
      const note = response.headers.get('X-KGen-Note');
      const link = h('a', {
        href: URL.createObjectURL(await response.blob()),
        download: `${run}-student.zip`,
      });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      if (note) message = `Exported without ONNX. ${decodeURIComponent(note)}`;
    } catch (error) {
      message = error.message;
    }
    this.exportButton.ariaBusy = 'false';
    setText(this.exportButton, 'Export ZIP');
    setAttr(this.exportButton, 'data-tip', message || EXPORT_TIP);
    if (message) this.showTip(this.exportButton);
  }

  #setSheetOpen(isOpen) {
    if (this.commandSheet.hidden !== isOpen) return;
    if (isOpen) this.#showCommand();
    this.commandSheet.hidden = !isOpen;
    setAttr(this.titleButton, 'aria-expanded', String(isOpen));
    if (isOpen) /** @type {HTMLElement} */ (this.commandSheet.querySelector('.copy')).focus();
  }

  /** Copies the address of this view; without a clipboard, selects it in the sheet. */
  async #copyLink() {
    const { page } = document.body.dataset;
    const { snap } = this;
    const link = address.shareableHref(
      page,
      page === 'inspect' ? { run: address.read(page).run ?? snap?.run } : {},
    );
    try {
      await navigator.clipboard.writeText(link);
      this.copyLinkButton.classList.add('copied');
      setAttr(this.copyLinkButton, 'aria-label', 'Copied');
      setTimeout(() => {
        this.copyLinkButton.classList.remove('copied');
        setAttr(this.copyLinkButton, 'aria-label', 'Copy a link to this view');
      }, 1600);
    } catch {
      this.#setSheetOpen(true);
      this.copyText = link;
      setText(this.commandSheet.querySelector('p'), 'Link to this view. Press Ctrl-C to copy:');
      this.#selectForCopy(link);
    }
  }

  /** For Ctrl-C where there is no clipboard, outside a secure context. */
  #selectForCopy(text) {
    const code = this.commandSheet.querySelector('code');
    setText(code, text);
    getSelection().selectAllChildren(code);
  }

  async #copy(button, text) {
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      setText(button, 'Copied');
    } catch {
      this.#selectForCopy(text);
      setText(button, 'Press Ctrl-C to copy');
    }
    setTimeout(() => setText(button, label), 1600);
  }
}
