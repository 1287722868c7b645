// One run in the list: its picture, its settings and results, and its buttons. Texts are always
// inserted as plain text, no matter who wrote them.

import * as address from '../core/address.js';
import { show as exchange } from './exchange_dialog.js';
import { flip } from './rerun_dialog.js';
import { told } from '../core/glossary.js';
import { h, num, pct, put, setAttr, setText, time } from '../core/dom.js';

/** @import { Run } from '../core/types.js' */
/** @import { Runs } from './runs.js' */

const STATES = {
  going: 'in progress',
  finished: 'finished',
  stopped: 'stopped',
  interrupted: 'interrupted',
  failed: 'failed',
  damaged: 'damaged',
};
const SEND =
  'Download as one file. To use it on another machine, choose Open file… there. Leaves out the checkpoint and your own real images.';
const BOUNDS = { '': '', fewer: '< ', more: '> ' };
const FACTS = ['Student', 'Teacher', 'Images', 'Duration', 'Started', 'On disk'];

/**
 * Names the state of a run.
 * @param {string} state
 * @returns {string}
 */
export const stateName = (state) => STATES[state] ?? state;

const size = (bytes) =>
  bytes < 1e6
    ? `${num(bytes / 1e3)} KB`
    : bytes < 1e9
      ? `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`
      : `${(bytes / 1e9).toFixed(1)} GB`;
const day = (seconds) =>
  new Date(1000 * seconds).toLocaleString('en-US', {
    hourCycle: 'h23',
    day: 'numeric',
    month: 'short',
    hour: '2-digit',
    minute: '2-digit',
  });

/** A row of the list of runs. */
export class RunRow {
  /**
   * @param {string} name Of the run.
   * @param {Runs} list The page.
   */
  constructor(name, list) {
    this.name = name;
    this.list = list;
    this.at = `runs/${encodeURIComponent(name)}`;
    const button = (label, act, kind = 'link') =>
      h(
        'button',
        {
          type: 'button',
          class: kind,
          'data-for': 'presenter',
          'aria-label': `${label} ${name}`,
          onclick: (event) => this.#try(event.currentTarget, act),
        },
        label,
      );
    const link = (label, query, tip) =>
      h(
        'a',
        {
          class: 'link',
          'data-for': 'presenter',
          href: `${list.base}/kg/bundle/${encodeURIComponent(name)}${query}`,
          download: `${name}.kgen`,
          'data-tip': tip,
          'aria-label': `${label} ${name}`,
        },
        label,
      );
    this.open = button('Open', () => this.#studio('open'), 'btn small');
    this.inspect = h(
      'a',
      {
        class: 'link',
        href: address.link({ tab: 'inspect', run: name }),
        'aria-label': `Inspect ${name}`,
      },
      'Inspect',
    );
    this.resume = button('Resume', () => this.#studio('resume'), 'btn small');
    this.renaming = button('Rename', () => this.#rename());
    this.noting = button('Note', () => this.#write());
    this.beside = h(
      'button',
      {
        type: 'button',
        class: 'link',
        'aria-label': `Compare ${name}`,
        'aria-pressed': 'false',
        'data-tip': 'Mark two or more runs, then press Compare above.',
        onclick: () => list.choose(name, this.beside.ariaPressed !== 'true'),
      },
      'Compare',
    );
    this.flip = h(
      'button',
      {
        type: 'button',
        class: 'link',
        'data-for': 'presenter',
        'aria-label': `Flip one switch of ${name}`,
        'aria-haspopup': 'dialog',
        'data-tip': 'Rerun this with one switch flipped, and compare the two.',
        onclick: () => flip(list.base, name, (made) => list.compare([name, made])),
      },
      'Flip one switch…',
    );
    this.worth = h(
      'button',
      {
        type: 'button',
        class: 'link',
        'aria-label': `Exchange rate of ${name}`,
        'aria-haspopup': 'dialog',
        'data-tip': told('exchange-rate'),
        onclick: () => exchange(name, this.run.worth),
      },
      'Exchange rate…',
    );
    this.send = link('Download', '', SEND);
    this.sendAll = link(
      'Download with real images',
      '?real=1',
      'Like Download, but includes your own real images.',
    );
    this.remove = button('Delete', async () =>
      list.deleted(name, await list.post(`${this.at}/delete`)),
    );
    this.picture = h('img', { alt: '', loading: 'lazy', hidden: true });
    this.title = h('h2', null, name);
    this.state = h('span', { class: 'state' });
    this.what = h('p', { class: 'muted' });
    this.note = h('p', { class: 'said', hidden: true });
    this.form = h('div', { class: 'form', hidden: true });
    this.wrong = h('p', { class: 'wrong', role: 'alert', hidden: true });
    this.facts = FACTS.map((fact) => h('div', null, h('dt', null, fact), h('dd')));
    this.root = h(
      'li',
      { class: 'run', 'data-run': name },
      h('div', { class: 'thumb' }, this.picture),
      h(
        'div',
        { class: 'what' },
        h('div', { class: 'name' }, this.title, this.state),
        this.what,
        this.note,
        this.form,
        this.wrong,
      ),
      h('dl', { class: 'facts' }, this.facts),
      h(
        'div',
        { class: 'do' },
        this.resume,
        this.open,
        this.inspect,
        this.beside,
        this.flip,
        this.worth,
        this.renaming,
        this.noting,
        this.send,
        this.sendAll,
        this.remove,
      ),
    );
  }

  /**
   * Draws the run if it has changed.
   * @param {Run} run
   */
  draw(run) {
    const text = JSON.stringify(run);
    if (text === this.text) return;
    this.run = run;
    this.text = text;
    const going = run.state === 'going';
    const { score } = run;
    const rate = run.worth?.rate;
    setText(
      this.state,
      run.shown && !going ? `${stateName(run.state)}, in the Studio` : stateName(run.state),
    );
    setAttr(this.state, 'data-state', run.state);
    setText(
      this.what,
      [
        run.title,
        run.teacher,
        run.classes && (run.classes === 1 ? '1 class' : `${num(run.classes)} classes`),
        run.brought && 'from a file',
      ]
        .filter(Boolean)
        .join(' · '),
    );
    setText(this.note, run.note);
    setAttr(this.note, 'hidden', !run.note);
    setAttr(this.picture, 'hidden', !run.picture);
    if (run.picture)
      setAttr(
        this.picture,
        'src',
        `${this.list.base}/kg/picture/${encodeURIComponent(run.name)}/${run.picture}`,
      );
    const facts = [
      score
        ? [
            pct(score.share, 1),
            score.real ? `of ${num(score.n)} real images` : 'agreement with the teacher',
          ]
        : ['–', 'not tested yet'],
      [run.teacher_score == null ? '–' : pct(run.teacher_score, 1), ''],
      [
        num(run.images),
        rate
          ? `worth ${BOUNDS[rate.bound]}${num(rate.photos)} real photos`
          : run.budget
            ? `${pct(run.used)} of budget`
            : '',
      ],
      [run.seconds ? time(run.seconds) : '–', ''],
      [day(run.began), ''],
      [size(run.bytes), ''],
    ];
    this.facts.forEach((fact, i) =>
      put(
        /** @type {HTMLElement} */ (fact.lastChild),
        facts[i][0],
        facts[i][1] && h('small', null, facts[i][1]),
      ),
    );
    setAttr(this.resume, 'hidden', !run.resumable);
    setAttr(this.open, 'hidden', run.state === 'damaged');
    setAttr(this.inspect, 'hidden', run.state === 'damaged');
    setAttr(this.worth, 'hidden', going || !score);
    for (const node of [this.renaming, this.remove, this.send]) setAttr(node, 'hidden', going);
    setAttr(this.sendAll, 'hidden', going || !run.own_images);
    if (run.state === 'damaged')
      for (const node of [this.send, this.renaming, this.beside, this.flip])
        setAttr(node, 'hidden', true);
  }

  /**
   * Marks it for comparison.
   * @param {boolean} on
   */
  marked(on) {
    setAttr(this.beside, 'aria-pressed', String(on));
    setText(this.beside, on ? 'Compare ✓' : 'Compare');
  }

  /** Scrolls to it and focuses it. */
  reveal() {
    this.root.scrollIntoView({ block: 'nearest' });
    this.open.focus();
  }

  /** Runs one action at a time; errors are shown in the row. */
  async #try(button, act) {
    if (this.busy) return;
    this.busy = true;
    setAttr(this.wrong, 'hidden', true);
    setAttr(button, 'aria-busy', 'true');
    try {
      await act();
    } catch (error) {
      setText(this.wrong, error.message);
      setAttr(this.wrong, 'hidden', false);
    }
    setAttr(button, 'aria-busy', null);
    this.busy = false;
  }

  async #studio(action) {
    await this.list.post(`${this.at}/${action}`);
    this.list.studio();
  }

  #rename() {
    const field = h('input', {
      type: 'text',
      maxlength: 120,
      'aria-label': 'New name',
      spellcheck: 'false',
      autocomplete: 'off',
    });
    field.value = this.name;
    this.#ask(field, this.renaming, async () => {
      const to = await this.list.post(`${this.at}/rename`, { to: field.value });
      if (to !== this.name) this.list.reveal(to);
    });
    field.select();
  }

  #write() {
    const field = h('textarea', {
      rows: 3,
      maxlength: 500,
      'aria-label': 'Note',
      placeholder: 'Its purpose and findings',
    });
    field.value = this.run.note;
    this.#ask(field, this.noting, () => this.list.post(`${this.at}/note`, { note: field.value }));
  }

  /** Edits a field in the row: Save or Enter saves it, Cancel or Escape does not. */
  #ask(field, from, keep) {
    const close = () => {
      setAttr(this.form, 'hidden', true);
      put(this.form);
      setAttr(this.wrong, 'hidden', true);
      if (from.isConnected) from.focus();
    };
    const save = h('button', { type: 'button', class: 'btn small primary' }, 'Save');
    const cancel = h('button', { type: 'button', class: 'btn small', onclick: close }, 'Cancel');
    let kept = false;
    const done = async () => {
      await this.#try(save, async () => {
        await keep();
        kept = true;
      });
      if (kept) close();
    };
    save.addEventListener('click', done);
    field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (field.tagName === 'INPUT' || event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        done();
      }
      if (event.key === 'Escape') {
        event.stopPropagation();
        close();
      }
    });
    put(this.form, field, save, cancel);
    setAttr(this.form, 'hidden', false);
    field.focus();
  }
}
