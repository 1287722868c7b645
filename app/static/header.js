// The top bar: which run is shown, the command that makes the same one, light or dark; and the downloads.

import { h, setAttr, setText } from './dom.js';
import { write } from './address.js';

const BUNDLE = 'The student as safetensors and ONNX, with class names, a card of facts and code that loads it. Takes some seconds.';

export class Header {
  constructor(view, { base, command, explain }) {
    Object.assign(this, { base, command, explain, title: view.querySelector('.nav .title'), card: view.querySelector('.command'), csv: view.querySelector('.csv'), student: view.querySelector('.student'), bundle: view.querySelector('.bundle') });
    this.title.addEventListener('click', () => this.#open(this.card.hidden));
    document.addEventListener('pointerdown', (e) => { if (!this.card.contains(e.target) && !this.title.contains(e.target)) this.#open(false); });
    this.card.querySelector('.copy').addEventListener('click', (e) => this.#copy(e.currentTarget, this.text));
    this.card.querySelector('.copy-link').addEventListener('click', (e) => this.#copy(e.currentTarget, location.href));
    view.querySelector('.theme').addEventListener('click', () => write({ __theme: document.body.classList.toggle('dark') ? 'dark' : 'light' }));
    this.bundle.addEventListener('click', () => this.#export(this.snap.run));
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
    setAttr(this.bundle, 'hidden', !snap.student_ready);
    if (this.exported !== `${snap.run} ${snap.attempt}`) { // what the last export said belongs to its run
      this.exported = `${snap.run} ${snap.attempt}`;
      setAttr(this.bundle, 'data-tip', BUNDLE);
    }
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

  /** Some seconds of work for the server: say so meanwhile, and what is missing afterwards. */
  async #export(run) {
    if (this.bundle.ariaBusy === 'true') return;
    this.bundle.ariaBusy = 'true';
    setText(this.bundle, 'Exporting…');
    let said = '';
    try {
      const answer = await fetch(`${this.base}/kg/export/${encodeURIComponent(run)}`), note = answer.headers.get('X-KGen-Note');
      if (!answer.ok) throw new Error(await answer.text());
      const link = h('a', { href: URL.createObjectURL(await answer.blob()), download: `${run}-student.zip` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      if (note) said = `Exported without ONNX. ${decodeURIComponent(note)}`;
    } catch (error) { said = error instanceof TypeError ? 'The server does not answer.' : error.message; }
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
    if (on) this.card.querySelector('.copy').focus();
  }

  async #copy(button, text) {
    const said = button.textContent, code = this.card.querySelector('code');
    try {
      await navigator.clipboard.writeText(text);
      setText(button, 'Copied');
    } catch { // no clipboard outside a secure context: select, so that Ctrl-C works
      setText(code, text);
      getSelection().selectAllChildren(code);
      setText(button, 'Selected; press Ctrl-C');
    }
    setTimeout(() => setText(button, said), 1600);
  }
}
