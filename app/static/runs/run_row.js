// A run in the list: its picture, settings, results, and buttons. Texts are always inserted as
// plain text, no matter who wrote them.

import * as address from '../core/address.js';
import { openExchangeDialog as exchange } from './exchange_dialog.js';
import { openRerunDialog } from './rerun_dialog.js';
import { glossaryTip } from '../core/glossary.js';
import { h, num, pct, setChildren, setAttr, setText, time } from '../core/dom.js';

/** @import { Run } from '../core/types.js' */
/** @import { Runs } from './runs.js' */

const STATE_NAMES = {
  going: 'in progress',
  finished: 'finished',
  stopped: 'stopped',
  interrupted: 'interrupted',
  failed: 'failed',
  damaged: 'damaged',
};
const DOWNLOAD_TIP =
  'Download as one file. To use it on another machine, choose Open file… there. Leaves out the checkpoint and your own real images.';
const BOUND_SIGNS = { '': '', fewer: '< ', more: '> ' };
const FACT_LABELS = ['Student', 'Teacher', 'Images', 'Duration', 'Started', 'On disk'];

/**
 * Names the state of a run.
 * @param {string} state
 * @returns {string}
 */
export const stateName = (state) => STATE_NAMES[state] ?? state;

const formatSize = (bytes) =>
  bytes < 1e6
    ? `${num(bytes / 1e3)} KB`
    : bytes < 1e9
      ? `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`
      : `${(bytes / 1e9).toFixed(1)} GB`;
const formatDate = (seconds) =>
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
    this.path = `runs/${encodeURIComponent(name)}`;
    const button = (label, action, className = 'link') =>
      h(
        'button',
        {
          type: 'button',
          class: className,
          'data-for': 'presenter',
          'aria-label': `${label} ${name}`,
          onclick: (event) => this.#runAction(event.currentTarget, action),
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
    this.openButton = button('Open', () => this.#openInStudio('open'), 'btn small');
    this.inspectLink = h(
      'a',
      {
        class: 'link',
        href: address.link({ tab: 'inspect', run: name }),
        'aria-label': `Inspect ${name}`,
      },
      'Inspect',
    );
    this.resumeButton = button('Resume', () => this.#openInStudio('resume'), 'btn small');
    this.renameButton = button('Rename', () => this.#editName());
    this.noteButton = button('Note', () => this.#editNote());
    this.compareButton = h(
      'button',
      {
        type: 'button',
        class: 'link',
        'aria-label': `Compare ${name}`,
        'aria-pressed': 'false',
        'data-tip': 'Mark two or more runs, then press Compare above.',
        onclick: () => list.setMarked(name, this.compareButton.ariaPressed !== 'true'),
      },
      'Compare',
    );
    this.rerunButton = h(
      'button',
      {
        type: 'button',
        class: 'link',
        'data-for': 'presenter',
        'aria-label': `Flip one switch in ${name}`,
        'aria-haspopup': 'dialog',
        'data-tip': 'Rerun this with one switch flipped, and compare the two.',
        onclick: () =>
          openRerunDialog(list.base, name, (newRun) => list.openComparison([name, newRun])),
      },
      'Flip one switch…',
    );
    this.exchangeButton = h(
      'button',
      {
        type: 'button',
        class: 'link',
        'aria-label': `Exchange rate of ${name}`,
        'aria-haspopup': 'dialog',
        'data-tip': glossaryTip('exchange-rate'),
        onclick: () => exchange(name, this.run.worth),
      },
      'Exchange rate…',
    );
    this.downloadLink = link('Download', '', DOWNLOAD_TIP);
    this.downloadAllLink = link(
      'Download with real images',
      '?real=1',
      'Like Download, but includes your own real images.',
    );
    this.deleteButton = button('Delete', async () =>
      list.deleted(name, await list.post(`${this.path}/delete`)),
    );
    this.image = h('img', { alt: '', loading: 'lazy', hidden: true });
    this.title = h('h2', null, name);
    this.stateLabel = h('span', { class: 'state' });
    this.summary = h('p', { class: 'muted' });
    this.noteText = h('p', { class: 'said', hidden: true });
    this.editForm = h('div', { class: 'form', hidden: true });
    this.errorMessage = h('p', { class: 'error-message', role: 'alert', hidden: true });
    this.factNodes = FACT_LABELS.map((fact) => h('div', null, h('dt', null, fact), h('dd')));
    this.root = h(
      'li',
      { class: 'run', 'data-run': name },
      h('div', { class: 'thumb' }, this.image),
      h(
        'div',
        { class: 'what' },
        h('div', { class: 'name' }, this.title, this.stateLabel),
        this.summary,
        this.noteText,
        this.editForm,
        this.errorMessage,
      ),
      h('dl', { class: 'facts' }, this.factNodes),
      h(
        'div',
        { class: 'do' },
        this.resumeButton,
        this.openButton,
        this.inspectLink,
        this.compareButton,
        this.rerunButton,
        this.exchangeButton,
        this.renameButton,
        this.noteButton,
        this.downloadLink,
        this.downloadAllLink,
        this.deleteButton,
      ),
    );
  }

  /**
   * Draws the run if it has changed.
   * @param {Run} run
   */
  draw(run) {
    const text = JSON.stringify(run);
    if (text === this.runKey) return;
    this.run = run;
    this.runKey = text;
    const isActive = run.state === 'going';
    const { score } = run;
    const rate = run.worth?.rate;
    setText(
      this.stateLabel,
      run.shown && !isActive ? `${stateName(run.state)}, in the Studio` : stateName(run.state),
    );
    setAttr(this.stateLabel, 'data-state', run.state);
    setText(
      this.summary,
      [
        run.title,
        run.teacher,
        run.classes && (run.classes === 1 ? '1 class' : `${num(run.classes)} classes`),
        run.brought && 'from a file',
      ]
        .filter(Boolean)
        .join(' · '),
    );
    setText(this.noteText, run.note);
    setAttr(this.noteText, 'hidden', !run.note);
    setAttr(this.image, 'hidden', !run.picture);
    if (run.picture)
      setAttr(
        this.image,
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
          ? `worth ${BOUND_SIGNS[rate.bound]}${num(rate.photos)} real photos`
          : run.budget
            ? `${pct(run.used)} of budget`
            : '',
      ],
      [run.seconds ? time(run.seconds) : '–', ''],
      [formatDate(run.began), ''],
      [formatSize(run.bytes), ''],
    ];
    this.factNodes.forEach((fact, i) =>
      setChildren(
        /** @type {HTMLElement} */ (fact.lastChild),
        facts[i][0],
        facts[i][1] && h('small', null, facts[i][1]),
      ),
    );
    setAttr(this.resumeButton, 'hidden', !run.resumable);
    setAttr(this.openButton, 'hidden', run.state === 'damaged');
    setAttr(this.inspectLink, 'hidden', run.state === 'damaged');
    setAttr(this.exchangeButton, 'hidden', isActive || !score);
    for (const node of [this.renameButton, this.deleteButton, this.downloadLink])
      setAttr(node, 'hidden', isActive);
    setAttr(this.downloadAllLink, 'hidden', isActive || !run.own_images);
    if (run.state === 'damaged')
      for (const node of [
        this.downloadLink,
        this.renameButton,
        this.compareButton,
        this.rerunButton,
      ])
        setAttr(node, 'hidden', true);
  }

  /**
   * Shows whether the run is marked for comparison.
   * @param {boolean} isMarked
   */
  setMarked(isMarked) {
    setAttr(this.compareButton, 'aria-pressed', String(isMarked));
    setText(this.compareButton, isMarked ? 'Compare ✓' : 'Compare');
  }

  /** Scrolls to it and focuses it. */
  reveal() {
    this.root.scrollIntoView({ block: 'nearest' });
    this.openButton.focus();
  }

  /** Runs one action at a time and shows errors in the row. */
  async #runAction(button, action) {
    if (this.isBusy) return;
    this.isBusy = true;
    setAttr(this.errorMessage, 'hidden', true);
    setAttr(button, 'aria-busy', 'true');
    try {
      await action();
    } catch (error) {
      setText(this.errorMessage, error.message);
      setAttr(this.errorMessage, 'hidden', false);
    }
    setAttr(button, 'aria-busy', null);
    this.isBusy = false;
  }

  async #openInStudio(action) {
    await this.list.post(`${this.path}/${action}`);
    this.list.openStudio();
  }

  #editName() {
    const field = h('input', {
      type: 'text',
      maxlength: 120,
      'aria-label': 'New name',
      spellcheck: 'false',
      autocomplete: 'off',
    });
    field.value = this.name;
    this.#editField(field, this.renameButton, async () => {
      const to = await this.list.post(`${this.path}/rename`, { to: field.value });
      if (to !== this.name) this.list.reveal(to);
    });
    field.select();
  }

  #editNote() {
    const field = h('textarea', {
      rows: 3,
      maxlength: 500,
      'aria-label': 'Note',
      placeholder: 'Its purpose and findings',
    });
    field.value = this.run.note;
    this.#editField(field, this.noteButton, () =>
      this.list.post(`${this.path}/note`, { note: field.value }),
    );
  }

  /** Edits a field in the row. Save or Enter saves it; Cancel or Escape discards it. */
  #editField(field, trigger, onSave) {
    const close = () => {
      setAttr(this.editForm, 'hidden', true);
      setChildren(this.editForm);
      setAttr(this.errorMessage, 'hidden', true);
      if (trigger.isConnected) trigger.focus();
    };
    const save = h('button', { type: 'button', class: 'btn small primary' }, 'Save');
    const cancel = h('button', { type: 'button', class: 'btn small', onclick: close }, 'Cancel');
    let saved = false;
    const submit = async () => {
      await this.#runAction(save, async () => {
        await onSave();
        saved = true;
      });
      if (saved) close();
    };
    save.addEventListener('click', submit);
    field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (field.tagName === 'INPUT' || event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        submit();
      }
      if (event.key === 'Escape') {
        event.stopPropagation();
        close();
      }
    });
    setChildren(this.editForm, field, save, cancel);
    setAttr(this.editForm, 'hidden', false);
    field.focus();
  }
}
