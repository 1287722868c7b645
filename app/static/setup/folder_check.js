// Below the field for a folder of real images: which of its subfolders is which class, and what
// cannot be used. The server reads the folder in a separate process.

import { current } from './class_picker.js';
import { h, num, setAttr, setChildren, setText } from '../core/dom.js';
import { requestJson } from '../core/server.js';
import { missingRemark, ofSelection } from './folder_report.js';

/** @import { FolderCheckReport } from '../core/types.js' */

const POLL_MS = 300;
const LOOK_MS = 400; // Gradio fills in the form without an event
const TYPING_MS = 800; // a path is not checked while it is being typed
const MAX_ROWS = 200;

const delay = (ms) => new Promise((done) => setTimeout(done, ms));
const plural = (n, noun, ending = 's') => `${num(n)} ${noun}${n === 1 ? '' : ending}`;

/** The check of the folder in the form. */
export class FolderCheck {
  /** @param {string} base Where the app is served. */
  constructor(base) {
    this.base = base;
    this.key = '';
    this.summary = h('p', { class: 'said small', role: 'status' });
    this.details = h('div', { class: 'found' });
    /** @type {HTMLElement | null} */
    this.root = null;
    setInterval(() => this.#update(), LOOK_MS);
  }

  /**
   * Starts a check if the form's folder or teacher has changed since the last one. A change of the
   * selection only redraws its report.
   */
  #update() {
    if (this.isLocked || !this.#mount()) return;
    /** @type {HTMLInputElement | HTMLTextAreaElement | null} */
    const field = document.querySelector('#kg-real :is(input, textarea)');
    const folder = field?.value.trim() ?? '';
    const picker = current();
    if (!picker?.teacher) return;
    const request = { folder, teacher: picker.teacher };
    const key = JSON.stringify(request);
    if (key === this.key) return void this.#show();
    if (this.pending !== key) {
      this.pending = key;
      this.pendingSince = performance.now();
    }
    const isTyping = document.activeElement === field && folder;
    if (isTyping && performance.now() - this.pendingSince < TYPING_MS) return;
    this.key = key;
    this.report = this.shown = null;
    if (folder) this.#check(request, key);
    else this.#clear();
  }

  /** Gradio adds the place for the report when the section with the field is first opened. */
  #mount() {
    if (this.root?.isConnected) return true;
    this.root = document.querySelector('#kg-real-check');
    if (!this.root) return false;
    setChildren(this.root, this.summary, this.details);
    this.key = '';
    this.#clear();
    return true;
  }

  /**
   * Pauses while a run is active: the form cannot be changed then.
   * @param {boolean} isLocked
   */
  lock(isLocked) {
    this.isLocked = isLocked;
  }

  async #check(request, key) {
    const isCurrent = () => this.key === key;
    this.#say('busy', 'Checking the folder…');
    setChildren(this.details);
    try {
      const { id } = await requestJson(`${this.base}/kg/folder`, {
        method: 'POST',
        body: JSON.stringify(request),
        headers: { 'Content-Type': 'application/json' },
      });
      while (isCurrent()) {
        const found = await requestJson(`${this.base}/kg/folder/${encodeURIComponent(id)}`);
        if (!isCurrent()) return;
        if (found.error) return void this.#say('fail', found.error);
        if (found.done) {
          this.report = found.report;
          return void this.#show();
        }
        if (found.total)
          this.#say(
            'busy',
            `Checking the images: ${num(found.checked)} of ${num(found.total)}. You can start a run in the meantime.`,
          );
        await delay(POLL_MS);
      }
    } catch (error) {
      if (!isCurrent()) return;
      // another tab has started a check of its own, which is no error
      if (error.code === 'unknown-check') this.#clear();
      else this.#say('fail', error.message);
    }
  }

  #clear() {
    this.#say('', '');
    setChildren(this.details);
  }

  #say(state, text) {
    this.root.dataset.state = state;
    setAttr(this.root, 'hidden', !text);
    setText(this.summary, text);
  }

  /** Draws the part of the report that belongs to the selection, unless it is already shown. */
  #show() {
    const selected = current()?.selectedIndices;
    if (!this.report || !selected) return;
    const shown = JSON.stringify([...selected]);
    if (shown === this.shown) return;
    this.shown = shown;
    if (selected.size) this.#draw(this.report, selected);
    else this.#clear();
  }

  /**
   * @param {FolderCheckReport} report
   * @param {Set<string>} selected Names of classes.
   */
  #draw(report, selected) {
    const { images, classes, missing, ignored } = ofSelection(report, selected);
    const present = classes.filter((row) => row.images);
    const remarks = report.remarks.map(({ text, remedy }) => `${text} ${remedy}`);
    if (missing.length) remarks.push(missingRemark(missing, classes.length));
    this.#say(
      !images ? 'fail' : remarks.length ? 'warn' : 'ok',
      `${plural(images, 'image')} of ${num(present.length)} of ${plural(classes.length, 'class', 'es')}` +
        (report.split ? `, from ${report.split}/.` : '.'),
    );
    const rows = [
      ...present.map((row) => this.#row('', row.name, row.folders.join(', '), row.images)),
      ...ignored.map((row) =>
        this.#row('ignored', 'not used', `${row.folder}: ${row.reason}`, row.images),
      ),
      ...missing.map((row) =>
        this.#row(
          'missing',
          row.name,
          row.folders.length ? `${row.folders.join(', ')}: no images` : 'no folder',
          0,
        ),
      ),
    ];
    setChildren(
      this.details,
      h(
        'div',
        { class: 'rows', tabindex: 0, role: 'region', 'aria-label': 'Classes and folders' },
        h(
          'table',
          null,
          h(
            'thead',
            null,
            h('tr', null, h('th', null, 'Class'), h('th', null, 'Folder'), h('th', null, 'Images')),
          ),
          h('tbody', null, rows.slice(0, MAX_ROWS)),
        ),
        rows.length > MAX_ROWS
          ? h('p', { class: 'muted' }, `and ${num(rows.length - MAX_ROWS)} more rows`)
          : null,
      ),
      remarks.map((text) => h('p', { class: 'remark' }, text)),
    );
  }

  #row(kind, name, folder, images) {
    return h(
      'tr',
      { class: kind },
      h('td', { title: name }, name),
      h('td', { title: folder }, folder),
      h('td', null, num(images)),
    );
  }
}
