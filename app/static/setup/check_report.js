// The findings of the check of a custom teacher, row by row, and the result: the name to save it
// under, or what to fix.

import { h, put, s, setText } from '../core/dom.js';

/** @import { Report } from '../core/types.js' */

const WORDS = { ok: 'pass', warn: 'note', fail: 'fail' };
const ICONS = { ok: 'm3 7.5 2.8 3L11 4', warn: 'M7 2.5v6M7 11v.5', fail: 'm3.5 3.5 7 7m0-7-7 7' };
const PARTS = [
  'File and architecture',
  'Tensor names and shapes',
  'Class names and their prompts',
  'Normalization, image size and spatial map',
  'Cost of one generator step on this machine',
];

const icon = (status) =>
  s('svg', { viewBox: '0 0 14 14', 'aria-hidden': 'true' }, s('path', { d: ICONS[status] }));
const title = (name) => name[0].toUpperCase() + name.slice(1);

/** The findings of a teacher check. */
export class CheckReport {
  /** @param {(name: string) => void} keep Saves the teacher under that name. */
  constructor(keep) {
    this.said = h('p', { class: 'said', role: 'status' });
    this.rows = h('ol', { class: 'rows', 'aria-label': 'Findings' });
    this.name = h('input', {
      type: 'text',
      required: true,
      minlength: 2,
      maxlength: 64,
      pattern: '[a-z0-9][a-z0-9._\\-]*[a-z0-9]',
      title: 'Lowercase letters, digits, periods, hyphens and underscores',
      autocomplete: 'off',
      spellcheck: 'false',
    });
    this.use = h('button', { type: 'submit', class: 'btn primary' }, 'Use this teacher');
    this.keeping = h(
      'form',
      {
        class: 'keep',
        hidden: true,
        onsubmit: (e) => {
          e.preventDefault();
          keep(this.name.value);
        },
      },
      h('label', { class: 'field' }, h('b', null, 'Name'), this.name),
      this.use,
    );
    this.root = h(
      'section',
      { class: 'findings', 'aria-label': 'Check results' },
      this.said,
      this.rows,
      this.keeping,
    );
    this.clear();
  }

  /** Describes the check before it starts. */
  clear() {
    this.fits = false;
    this.#say(
      '',
      'Before any training, the file is checked in a separate process. Files that contain code are rejected and never run.',
    );
    put(
      this.rows,
      PARTS.map((part) => h('li', { class: 'later muted' }, part)),
    );
  }

  /**
   * Starts a check.
   * @param {string} text
   */
  begin(text) {
    this.fits = false;
    put(this.rows);
    this.wait(text);
    this.root.scrollIntoView({ block: 'nearest' });
  }

  /**
   * Shows what is in progress.
   * @param {string} text
   */
  wait(text) {
    this.#say('busy', text);
  }

  /**
   * Adds the rows that have arrived since.
   * @param {Report} found
   */
  draw(found) {
    for (const row of found.rows.slice(this.rows.childElementCount)) {
      this.rows.append(
        h(
          'li',
          { class: row.status },
          h('span', { class: 'mark' }, icon(row.status), WORDS[row.status]),
          h(
            'div',
            null,
            h('b', null, title(row.name)),
            h('p', null, row.finding),
            row.advice && h('p', { class: 'muted' }, row.advice),
          ),
        ),
      );
    }
  }

  /**
   * Ends a check.
   * @param {Report} found
   * @param {string} name Suggested name for the teacher.
   */
  end(found, name) {
    this.fits = found.ok;
    if (!found.ok) return this.refuse(found);
    this.name.value = name;
    this.#say('ok', 'This file works as a teacher.');
    this.keeping.scrollIntoView({ block: 'nearest' });
  }

  /**
   * Says that the file does not work as a teacher, or could not be saved.
   * @param {Report} found
   */
  refuse(found) {
    const wrong = found.rows.filter((row) => row.status === 'fail').map((row) => row.name);
    this.fail(
      found.error ??
        `This file does not work as a teacher yet. Fix: ${wrong.join(', ') || 'the issues listed below'}.`,
    );
  }

  /**
   * Says what went wrong.
   * @param {string} text
   */
  fail(text) {
    this.#say('fail', text);
  }

  /** Says that the form has changed since the check. */
  outdate() {
    if (!this.root.dataset.state) return;
    this.fits = false;
    this.#say('', 'The form has changed. Check again.');
  }

  /** A file that passes can be saved; if saving failed, another name may work. */
  #say(state, text) {
    this.root.dataset.state = state;
    this.keeping.hidden = !this.fits || state === 'busy';
    put(this.said, state === 'ok' || state === 'fail' ? icon(state) : null, h('span'));
    setText(this.said.lastChild, text);
  }
}
