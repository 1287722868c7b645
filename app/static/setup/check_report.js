// The findings of a custom teacher's check, row by row, followed by the result: a field for the
// name, or what to fix.

import { h, setChildren, s, setText } from '../core/dom.js';

/** @import { Report } from '../core/types.js' */

const STATUS_LABELS = { ok: 'pass', warn: 'note', fail: 'fail' };
const ICONS = { ok: 'm3 7.5 2.8 3L11 4', warn: 'M7 2.5v6M7 11v.5', fail: 'm3.5 3.5 7 7m0-7-7 7' };
const CHECKS = [
  'File and architecture',
  'Tensor names and shapes',
  'Class names and class texts',
  'Normalization, image size, and spatial map',
  'Cost of one generator step on this machine',
];

const icon = (status) =>
  s('svg', { viewBox: '0 0 14 14', 'aria-hidden': 'true' }, s('path', { d: ICONS[status] }));
const capitalize = (name) => name[0].toUpperCase() + name.slice(1);

/** The findings of a teacher check. */
export class CheckReport {
  /** @param {(name: string) => void} onSave Saves the teacher under that name. */
  constructor(onSave) {
    this.summary = h('p', { class: 'said', role: 'status' });
    this.rows = h('ol', { class: 'rows', 'aria-label': 'Findings' });
    this.nameField = h('input', {
      type: 'text',
      required: true,
      minlength: 2,
      maxlength: 64,
      pattern: '[a-z0-9][a-z0-9._\\-]*[a-z0-9]',
      title: 'Lowercase letters, digits, periods, hyphens, and underscores',
      autocomplete: 'off',
      spellcheck: 'false',
    });
    this.submitButton = h('button', { type: 'submit', class: 'btn primary' }, 'Use this teacher');
    this.saveForm = h(
      'form',
      {
        class: 'keep',
        hidden: true,
        onsubmit: (e) => {
          e.preventDefault();
          onSave(this.nameField.value);
        },
      },
      h('label', { class: 'field' }, h('b', null, 'Name'), this.nameField),
      this.submitButton,
    );
    this.root = h(
      'section',
      { class: 'findings', 'aria-label': 'Check results' },
      this.summary,
      this.rows,
      this.saveForm,
    );
    this.clear();
  }

  /** Describes the check before it starts. */
  clear() {
    this.isValid = false;
    this.#setState(
      '',
      'Before any training, the file is checked in a separate process. Files that contain code are rejected and never run.',
    );
    setChildren(
      this.rows,
      CHECKS.map((part) => h('li', { class: 'later muted' }, part)),
    );
  }

  /**
   * Starts a check.
   * @param {string} text
   */
  begin(text) {
    this.isValid = false;
    setChildren(this.rows);
    this.showProgress(text);
    this.root.scrollIntoView({ block: 'nearest' });
  }

  /**
   * Shows what is in progress.
   * @param {string} text
   */
  showProgress(text) {
    this.#setState('busy', text);
  }

  /**
   * Adds the rows that have arrived since the last call.
   * @param {Report} report
   */
  draw(report) {
    for (const row of report.rows.slice(this.rows.childElementCount)) {
      this.rows.append(
        h(
          'li',
          { class: row.status },
          h('span', { class: 'mark' }, icon(row.status), STATUS_LABELS[row.status]),
          h(
            'div',
            null,
            h('b', null, capitalize(row.name)),
            h('p', null, row.finding),
            row.advice && h('p', { class: 'muted' }, row.advice),
            row.lines?.length > 0 && h('pre', null, row.lines.join('\n')),
          ),
        ),
      );
    }
  }

  /**
   * Ends a check.
   * @param {Report} report
   * @param {string} name Suggested name for the teacher.
   */
  end(report, name) {
    this.isValid = report.ok;
    if (!report.ok) return this.refuse(report);
    this.nameField.value = name;
    this.#setState('ok', 'This file works as a teacher.');
    this.saveForm.scrollIntoView({ block: 'nearest' });
  }

  /**
   * Says that the file does not work as a teacher, or could not be saved.
   * @param {Report} report
   */
  refuse(report) {
    const failed = report.rows.filter((row) => row.status === 'fail').map((row) => row.name);
    this.fail(
      report.error ??
        `This file does not work as a teacher yet. Fix: ${failed.join(', ') || 'the issues listed below'}.`,
    );
  }

  /**
   * Says what went wrong.
   * @param {string} text
   */
  fail(text) {
    this.#setState('fail', text);
    this.show();
  }

  /** Scrolls to the result, which is below the form on phones. */
  show() {
    this.root.scrollIntoView({ block: 'nearest' });
    this.summary.scrollIntoView({ block: 'nearest' });
  }

  /** Says that the form has changed since the check. */
  outdate() {
    if (!this.root.dataset.state) return;
    this.isValid = false;
    this.#setState('', 'The form has changed. Check again.');
  }

  /** Shows a state. A valid file can be saved; if that failed, another name may work. */
  #setState(state, text) {
    this.root.dataset.state = state;
    this.saveForm.hidden = !this.isValid || state === 'busy';
    setChildren(this.summary, state === 'ok' || state === 'fail' ? icon(state) : null, h('span'));
    setText(this.summary.lastChild, text);
  }
}
