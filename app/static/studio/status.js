// The status line at the top: one sentence about the current state and the run's progress or, in
// the same 40 pixels, what went wrong and what to do about it.

import { dot, h, num, setChildren, setAttr, setText, time } from '../core/dom.js';

/** @import { Alert, PanelState } from '../core/types.js' */

const ANNOUNCE_INTERVAL_MS = 6000; // a screen reader gets a new sentence at most this often

const ICON = 'M8 1 .5 14.5h15L8 1Zm-.8 5h1.6v4.2H7.2V6Zm0 5.2h1.6v1.6H7.2v-1.6Z';

/** The status line at the top. */
export class Status {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {(what: string) => void} hooks.onAction Performs the action that an alert offers.
   * @param {(c: number) => number} hooks.colorOf
   * @param {() => number} hooks.secondsOffline Seconds without a response from the server; 0 if
   *   it responds.
   */
  constructor(view, { onAction, colorOf, secondsOffline }) {
    this.secondsOffline = secondsOffline;
    this.onAction = onAction;
    this.colorOf = colorOf;
    this.line = view.querySelector('.status-line');
    this.announcer = view.querySelector('.announce');
    this.announcedAt = 0;
    this.key = '';
  }

  /**
   * Draws the sentence and the progress, or the alert.
   * @param {PanelState} state
   */
  draw({ snapshot: snap }) {
    const secondsOffline = this.secondsOffline();
    const kind = snap.alert ? 'alert' : 'status';
    const key = snap.alert ? JSON.stringify(snap.alert) : kind;
    if (key !== this.key) {
      // write an alert only once, because screen readers announce it when it appears
      this.key = key;
      setChildren(this.line, snap.alert ? this.#alert(snap.alert) : this.#status());
    }
    if (!snap.alert) this.#update(snap, secondsOffline);
    if (!snap.alert && performance.now() - this.announcedAt > ANNOUNCE_INTERVAL_MS) {
      this.announcedAt = performance.now();
      setText(
        this.announcer,
        secondsOffline ? 'The server is not responding.' : this.#plainText(snap),
      );
    }
  }

  #plainText = (snap) =>
    snap.sentence.map((part) => part.text ?? snap.classes[part.class] ?? '').join('');

  #status() {
    this.parts = {
      text: h('p'),
      label: h('b'),
      left: h('span'),
      fill: h('i'),
      note: h('button', { class: 'chip', type: 'button', hidden: true }),
      pulse: h('span', { class: 'pulse' }),
    };
    const { text, label, left, fill, note } = this.parts;
    this.parts.bar = h(
      'div',
      { class: 'bar', role: 'progressbar', 'aria-valuemin': 0, 'aria-valuemax': 100 },
      fill,
    );
    this.parts.progress = h(
      'div',
      { class: 'progress' },
      h('div', null, label, left),
      this.parts.bar,
    );
    this.sentence = '';
    return h('div', { class: 'status' }, this.parts.pulse, text, note, this.parts.progress);
  }

  #update(snap, secondsOffline) {
    const { text, label, left, fill, note, bar, progress } = this.parts;
    const sentence = secondsOffline
      ? `away ${Math.round(secondsOffline)}`
      : JSON.stringify(snap.sentence);
    if (sentence !== this.sentence) {
      this.sentence = sentence;
      this.parts.pulse.classList.toggle('low');
      setChildren(
        text,
        secondsOffline
          ? `The server is not responding. Last contact ${time(secondsOffline)} ago. Retrying…`
          : snap.sentence.map((part) =>
              part.class == null
                ? part.text
                : h('b', null, dot(this.colorOf(part.class)), ' ', snap.classes[part.class]),
            ),
      );
    }
    // a run's last sentence is the longest, and nothing moves any more when it appears
    text.classList.toggle('whole', ['finished', 'stopped'].includes(snap.phase));
    const isKnown = snap.progress && snap.phase !== 'empty';
    setAttr(progress, 'hidden', !isKnown);
    if (isKnown) {
      const share = Math.min(100, 100 * snap.progress.share).toFixed(1);
      setText(label, snap.progress.label);
      const { left_s: seconds, slowdown } = snap.progress;
      const remaining = seconds == null || snap.phase !== 'running' ? '' : `${time(seconds)} left`;
      setText(
        left,
        slowdown ? [remaining, 'slower than at the start'].filter(Boolean).join(' · ') : remaining,
      );
      setAttr(
        left,
        'data-tip',
        slowdown
          ? `A generator step takes ${slowdown} times as long as at the start. The machine may be too hot, or other programs may be using it.`
          : null,
      );
      fill.style.width = `${share}%`;
      setAttr(bar, 'aria-valuenow', share);
      setAttr(bar, 'aria-label', snap.progress.label);
    }
    const warnings = snap.warnings ?? [];
    setAttr(note, 'hidden', !warnings.length);
    if (warnings.length) {
      setText(note, warnings.length === 1 ? '1 note' : `${num(warnings.length)} notes`);
      setAttr(
        note,
        'data-tip',
        warnings
          .slice(-4)
          .map((w) => `${w.text} ${w.remedy ?? ''}`.trim())
          .join('\n'),
      );
    }
  }

  #alert(/** @type {Alert} */ { title, text, actions }) {
    const icon = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    icon.setAttribute('viewBox', '0 0 16 16');
    icon.setAttribute('aria-hidden', 'true');
    icon.append(Object.assign(document.createElementNS(icon.namespaceURI, 'path')));
    /** @type {Element} */ (icon.firstChild).setAttribute('d', ICON);
    return h(
      'div',
      { class: 'alert', role: 'alert' },
      icon,
      h('p', { title: `${title} ${text}` }, h('b', null, title), ' ', text),
      h(
        'div',
        { class: 'do' },
        (actions ?? []).map((action, i) =>
          h(
            'button',
            {
              type: 'button',
              class: `btn ${i ? '' : 'primary'}`,
              'data-for': 'presenter',
              onclick: () => this.onAction(action.do),
            },
            action.label,
          ),
        ),
      ),
    );
  }
}
