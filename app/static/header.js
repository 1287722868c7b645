// The top bar: which run is shown, the command that makes the same one, light or dark; and the two downloads.

import { setAttr, setText } from './dom.js';
import { write } from './address.js';

export class Header {
  constructor(view, { base, command }) {
    Object.assign(this, { base, command, title: view.querySelector('.nav .title'), card: view.querySelector('.command'), csv: view.querySelector('.csv'), student: view.querySelector('.student') });
    this.title.addEventListener('click', () => this.#open(this.card.hidden));
    document.addEventListener('pointerdown', (e) => { if (!this.card.contains(e.target) && !this.title.contains(e.target)) this.#open(false); });
    this.card.querySelector('.copy').addEventListener('click', (e) => this.#copy(e.currentTarget));
    view.querySelector('.theme').addEventListener('click', () => write({ __theme: document.body.classList.toggle('dark') ? 'dark' : 'light' }));
    this.student.addEventListener('click', (e) => { if (this.student.ariaDisabled === 'true') e.preventDefault(); });
  }

  close() { if (!this.card.hidden) { this.#open(false); this.title.focus(); } }

  draw(snap) {
    this.snap = snap;
    setText(this.title, snap.title || 'no run yet');
    this.#say();
    const run = snap.run && encodeURIComponent(snap.run);
    setAttr(this.csv, 'hidden', !run);
    setAttr(this.csv, 'href', run && `${this.base}/kg/csv/${run}`);
    setAttr(this.student, 'aria-disabled', String(!snap.student_ready));
    setAttr(this.student, 'tabindex', 0);
    setAttr(this.student, 'href', snap.student_ready ? `${this.base}/kg/student/${run}` : null);
    setAttr(this.student, 'download', Boolean(snap.student_ready));
    setAttr(this.student, 'data-tip', snap.student_ready ? 'The trained student as a safetensors file' : 'Ready when the run has finished or was stopped');
  }

  /** The command of the run that is shown; before any, of what the form says now. */
  #say() {
    const { snap } = this;
    this.text = snap.phase !== 'empty' ? snap.command : this.command() || snap.command;
    setText(this.card.querySelector('code'), this.text);
  }

  #open(on) {
    if (this.card.hidden !== on) return;
    if (on) this.#say();
    this.card.hidden = !on;
    setAttr(this.title, 'aria-expanded', String(on));
    if (on) this.card.querySelector('.copy').focus();
  }

  async #copy(button) {
    try { await navigator.clipboard.writeText(this.text); } catch { // no clipboard outside a secure context: select, so that Ctrl-C works
      getSelection().selectAllChildren(this.card.querySelector('code'));
      setText(button, 'Selected; press Ctrl-C');
      return;
    }
    setText(button, 'Copied');
    setTimeout(() => setText(button, 'Copy'), 1600);
  }
}
