// What the check of a brought teacher has found, row by row, and its end: the name under which it
// is kept, or what to put right.

import { h, put, s, setText } from '../core/dom.js';

/** @import { Report } from '../core/types.js' */

const WORDS = { ok: 'ok', warn: 'note', fail: 'no' };
const ICONS = { ok: 'm3 7.5 2.8 3L11 4', warn: 'M7 2.5v6M7 11v.5', fail: 'm3.5 3.5 7 7m0-7-7 7' };
const PARTS = [
  'The file and its architecture',
  'Whether every tensor fits',
  'Class names and their texts',
  'Normalisation, size of images, the spatial map',
  'What one generator step costs here',
];

const icon = (status) =>
  s('svg', { viewBox: '0 0 14 14', 'aria-hidden': 'true' }, s('path', { d: ICONS[status] }));
const title = (name) => name[0].toUpperCase() + name.slice(1);

/** What the check of a teacher finds. */
export class CheckReport {
  /** @param {(name: string) => void} keep Keeps the teacher under that name. */
  constructor(keep) {
    this.said = h('p', { class: 'said', role: 'status' });
    this.rows = h('ol', { class: 'rows', 'aria-label': 'Findings' });
    this.name = h('input', {
      type: 'text',
      required: true,
      minlength: 2,
      maxlength: 64,
      pattern: '[a-z0-9][a-z0-9._\\-]*[a-z0-9]',
      title: 'Small letters, digits, dots, - and _',
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
      { class: 'findings', 'aria-label': 'What is found' },
      this.said,
      this.rows,
      this.keeping,
    );
    this.clear();
  }

  /** Shows what it does before any check. */
  clear() {
    this.fits = false;
    this.#say(
      '',
      'The file is checked before anything trains, in a process of its own. Code in it is refused, never run.',
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
   * Says what is going on.
   * @param {string} text
   */
  wait(text) {
    this.#say('busy', text);
  }

  /**
   * Adds the rows that have come since.
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
   * @param {string} name Proposed for the teacher.
   */
  end(found, name) {
    this.fits = found.ok;
    if (!found.ok) return this.refuse(found);
    this.name.value = name;
    this.#say('ok', 'It can be a teacher.');
    this.keeping.scrollIntoView({ block: 'nearest' });
  }

  /**
   * Says that the file is not a teacher as it is, or could not be kept.
   * @param {Report} found
   */
  refuse(found) {
    const wrong = found.rows.filter((row) => row.status === 'fail').map((row) => row.name);
    this.fail(
      found.error ??
        `It cannot be a teacher as it is. Put right: ${wrong.join(', ') || 'what the rows say'}.`,
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
    this.#say('', 'Something has changed; check again.');
  }

  /** Where the file fits, it can be kept; where that failed, another name may do. */
  #say(state, text) {
    this.root.dataset.state = state;
    this.keeping.hidden = !this.fits || state === 'busy';
    put(this.said, state === 'ok' || state === 'fail' ? icon(state) : null, h('span'));
    setText(this.said.lastChild, text);
  }
}
