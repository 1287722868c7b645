// One lesson: question, prediction, switch, run, result, and explanation. Without a run, the text
// is complete except for the run's numbers.

import * as address from '../core/address.js';
import { figures } from './lesson_figures.js';
import { NAMES, drawSwitch, drawTable } from './lesson_parts.js';
import { h, setChildren, setAttr, setText, time } from '../core/dom.js';
import { renderSymbols } from '../core/prose.js';
import { ACTIVE } from '../setup/sidebar.js';

/** @import { Lesson, PanelState } from '../core/types.js' */
/** @import { Lessons } from './lessons.js' */

/** One lesson. */
export class LessonView {
  /**
   * @param {HTMLElement} body
   * @param {Lessons} page
   * @param {Lesson} lesson
   */
  constructor(body, page, lesson) {
    this.body = body;
    this.page = page;
    this.lesson = lesson;
    this.prediction = page.memory.get(lesson.slug);
    this.state = null;
    this.runKey = '';
    this.variants = lesson.switch ? ['a', 'b'] : ['a'];
    this.numberNodes = new Map();
    const renderNumber = (name) => this.#renderNumber(name);
    const renderPart = (i) => page.prose(lesson.text[i], renderNumber);
    this.predictionForm = h('fieldset', { class: 'predict' });
    this.switchControl = h('div', { class: 'flip' });
    this.status = h('p', { class: 'run-status', role: 'status' });
    this.progressBar = h('i', { class: 'bar', hidden: true }, h('b'));
    this.watchButton = h(
      'button',
      { type: 'button', class: 'link', hidden: true, onclick: () => page.openStudio() },
      'Watch in the Studio',
    );
    this.button = h('button', {
      type: 'button',
      class: 'btn primary run-it',
      'data-for': 'presenter',
      onclick: () => this.#run(),
    });
    this.repeatButton = h(
      'button',
      {
        type: 'button',
        class: 'link',
        hidden: true,
        'data-for': 'presenter',
        'data-tip':
          'Repeats this lesson’s runs, for example in a lecture. The same seed gives the same result.',
        onclick: () => this.#run(true),
      },
      'Run it again',
    );
    this.errorMessage = h('p', { class: 'error-message', role: 'alert', hidden: true });
    this.verdict = h('p', { class: 'verdict', role: 'status' });
    this.numbersTable = h('div', { class: 'numbers' });
    this.figures = h('div', { class: 'figures' });
    this.after = h('div', { class: 'after' }, renderPart(1));
    this.explanation = h(
      'div',
      null,
      h('div', { class: 'after' }, renderPart(2)),
      lesson.paper &&
        h('p', { class: 'paper' }, h('b', null, 'In the paper: '), renderSymbols(lesson.paper)),
    );
    const section = (n, title, ...content) =>
      h(
        'section',
        { 'aria-label': title },
        h('h2', null, h('span', { class: 'mark', 'aria-hidden': 'true' }, n), title),
        content,
      );
    setChildren(
      body,
      h(
        'a',
        {
          class: 'link back',
          href: address.link({ tab: 'lessons' }),
          onclick: (event) => page.link(event, address.link({ tab: 'lessons' })),
        },
        'All lessons',
      ),
      h('h2', { class: 'title' }, lesson.question),
      h(
        'p',
        { class: 'muted' },
        lesson.title,
        lesson.minutes
          ? ` · about ${lesson.minutes} min per run on two cores${lesson.switch ? '; most lessons share run A' : ''}`
          : ' · uses the bundled recording',
      ),
      h('div', { class: 'before' }, renderPart(0)),
      section(
        1,
        'Your prediction',
        h('p', null, renderSymbols(lesson.predict)),
        this.predictionForm,
      ),
      lesson.switch && section(2, 'The switch', this.switchControl),
      section(
        lesson.switch ? 3 : 2,
        lesson.minutes ? 'Run it' : 'The recording',
        h('div', { class: 'go' }, this.button, this.status, this.watchButton, this.repeatButton),
        this.progressBar,
        this.errorMessage,
      ),
      section(
        lesson.switch ? 4 : 3,
        'What happened',
        this.verdict,
        this.after,
        this.numbersTable,
        this.figures,
      ),
      section(lesson.switch ? 5 : 4, 'Why', this.explanation),
      lesson.next
        ? h(
            'p',
            { class: 'next' },
            h(
              'a',
              {
                class: 'btn',
                href: address.link({ tab: 'lessons', lesson: lesson.next.slug }),
                onclick: (event) => page.link(event, event.currentTarget.getAttribute('href')),
              },
              `Next: ${lesson.next.title}`,
            ),
          )
        : h(
            'p',
            { class: 'next' },
            h(
              'a',
              {
                class: 'btn',
                href: address.link({ tab: 'lessons', lesson: 'glossary' }),
                onclick: (event) => page.link(event, event.currentTarget.getAttribute('href')),
              },
              'Glossary',
            ),
          ),
    );
    this.#drawChoices();
    if (lesson.switch) drawSwitch(this.switchControl, lesson, this.variants);
    this.cells = drawTable(this.numbersTable, lesson, this.variants);
    this.#drawResults();
  }

  /**
   * Updates the lesson for a new snapshot.
   * @param {PanelState} state With the live snapshot.
   */
  draw({ snapshot: snap }) {
    this.snap = snap;
    const mark = `${snap.run} ${snap.id} ${snap.phase}`;
    if (mark !== this.runKey) {
      this.runKey = mark;
      this.#loadState();
    }
    this.#drawProgress();
  }

  async #loadState() {
    try {
      this.state = await this.page.request(`lessons/${this.lesson.slug}/runs`);
    } catch {
      setTimeout(() => {
        if (this.page.view === this) this.#loadState();
      }, 2000);
      return;
    } // the status line says that the server is not responding
    if (this.page.view && this.page.view !== this) return;
    this.#drawResults();
    if (this.state.following && !ACTIVE.includes(this.snap?.phase))
      setTimeout(() => this.#loadState(), 700); // B starts in a moment
  }

  get #isComplete() {
    return Boolean(this.state) && this.variants.every((v) => this.state.runs[v]);
  }

  #drawResults() {
    const { state, prediction, lesson } = this;
    for (const [name, nodes] of this.numberNodes)
      for (const node of nodes) this.#fillNumber(node, name);
    for (const { name, node } of this.cells) {
      const text = this.#numberText(name);
      setText(node, text ?? '');
      setAttr(node, 'class', text == null ? 'empty' : null);
    }
    const committed = prediction.choice != null;
    const isComplete = this.#isComplete;
    setAttr(this.button, 'hidden', isComplete || this.page.watching);
    setAttr(this.repeatButton, 'hidden', !isComplete || !lesson.minutes || this.page.watching);
    const existing = state && this.variants.filter((v) => state.runs[v]);
    setText(
      this.button,
      existing?.length
        ? `Run ${this.variants
            .filter((v) => !state.runs[v])
            .map((v) => NAMES[v])
            .join(' and ')}`
        : lesson.minutes
          ? 'Run it'
          : 'Run it: about 3 min',
    );
    if (!isComplete)
      setText(
        this.verdict,
        committed
          ? this.variants.some((v) => state?.runs[v])
            ? 'A is done; waiting for B.'
            : 'Nothing yet. The numbers come from the run.'
          : 'Make a prediction first. The numbers come from the run.',
      );
    else if (!committed) setText(this.verdict, 'Commit to a prediction to see what happened.');
    else if (state.outcome == null)
      setText(
        this.verdict,
        `You predicted: ${lesson.choices[prediction.choice]}. This run has no number that settles it.`,
      );
    else {
      const right = state.outcome === prediction.choice;
      setChildren(
        this.verdict,
        h('b', null, right ? 'Your prediction was right: ' : 'You predicted '),
        `“${lesson.choices[prediction.choice]}”`,
        right ? '.' : ['. ', h('b', null, 'The result: '), `“${lesson.choices[state.outcome]}”.`],
      );
      if (!prediction.done) {
        this.prediction = { ...prediction, done: true };
        this.page.memory.set(lesson.slug, this.prediction);
        this.page.updateList();
      }
    }
    setAttr(
      this.verdict,
      'data-right',
      isComplete && committed && state.outcome === prediction.choice,
    );
    for (const node of [this.after, this.explanation, this.numbersTable, this.figures])
      setAttr(node, 'hidden', !committed); // hidden until the reader has committed
    const key = isComplete && committed ? JSON.stringify(state.runs) : '';
    if (key !== this.figuresKey) {
      this.figuresKey = key;
      if (key) this.#drawFigures(key);
      else setChildren(this.figures);
    }
    this.#drawProgress();
  }

  async #drawFigures(key) {
    const { runs } = this.state;
    try {
      const figureData = await Promise.all(
        this.variants.map((v) =>
          this.page.request(
            `lesson-figures/${encodeURIComponent(runs[v].run)}/${runs[v].attempt}?id=${encodeURIComponent(runs[v].id)}`,
          ),
        ),
      );
      if (key === this.figuresKey) setChildren(this.figures, figures(this.lesson, figureData));
    } catch (error) {
      setChildren(this.figures, h('p', { class: 'muted' }, error.message));
    }
  }

  /** Describes the current state. */
  #drawProgress() {
    const { snap, state, prediction } = this;
    const runningVariant = state?.going;
    const isActive = Boolean(snap) && ACTIVE.includes(snap.phase);
    const isOtherRunActive = isActive && !runningVariant;
    const isBusy = isActive || Boolean(state?.following);
    setAttr(
      this.button,
      'disabled',
      prediction.choice == null || isBusy || this.isStarting || !state,
    );
    setAttr(this.repeatButton, 'disabled', isBusy || this.isStarting);
    setAttr(this.watchButton, 'hidden', !isActive);
    // a prediction cannot be withdrawn during its run
    setAttr(this.changeButton, 'hidden', Boolean(runningVariant && isActive));
    setAttr(this.progressBar, 'hidden', !(runningVariant && isActive));
    if (runningVariant && isActive) {
      /** @type {HTMLElement} */ (this.progressBar.firstChild).style.width =
        `${(100 * snap.progress.share).toFixed(1)}%`;
      const words = snap.sentence.map((piece) => piece.text ?? snap.classes[piece.class]).join('');
      setText(
        this.status,
        `${this.variants.length > 1 ? `Run ${NAMES[runningVariant]}${state.following ? ', then B' : ''}: ` : ''}${words}${snap.progress.left_s ? ` About ${time(snap.progress.left_s)} left.` : ''}`,
      );
    } else if (state?.following) setText(this.status, 'Run B starts in a moment.');
    else if (this.#isComplete)
      setText(
        this.status,
        this.variants
          .map((v) =>
            this.variants.length > 1
              ? `${NAMES[v]} is run ${state.runs[v].run}`
              : `This is run ${state.runs[v].run}`,
          )
          .join('; ') + '.',
      );
    else if (isOtherRunActive)
      setText(
        this.status,
        `Another run is in progress (${snap.run}). Wait for it to end, or stop it first.`,
      );
    else if (this.page.watching)
      setText(this.status, 'When the presenter starts the run, you will see it here.');
    else if (prediction.choice == null) setText(this.status, 'Make a prediction, then run it.');
    else {
      const existing = this.variants.filter((v) => state?.runs[v]);
      setText(
        this.status,
        existing.length
          ? `Run ${NAMES[existing[0]]} already exists.`
          : !this.lesson.minutes
            ? 'The recording is not in this runs folder, but running the same recipe works too.'
            : this.variants.length > 1
              ? 'Runs A, then B. You can leave this page in the meantime.'
              : '',
      );
    }
  }

  async #run(repeat = false) {
    this.isStarting = true;
    setAttr(this.errorMessage, 'hidden', true);
    this.#drawProgress();
    try {
      await this.page.request(`lessons/${this.lesson.slug}/run`, { again: repeat });
      this.page.pollSoon();
    } catch (error) {
      setText(this.errorMessage, error.message);
      setAttr(this.errorMessage, 'hidden', false);
    }
    this.isStarting = false;
    await this.#loadState();
  }

  // ---- the parts

  #drawChoices() {
    const { lesson, prediction } = this;
    const committed = prediction.choice != null;
    const commitButton = h(
      'button',
      {
        type: 'button',
        class: 'btn',
        disabled: true,
        onclick: () => {
          const choice = +(
            /** @type {HTMLInputElement} */ (this.predictionForm.querySelector('input:checked'))
              .value
          );
          this.prediction = { choice, done: false };
          this.page.memory.set(lesson.slug, this.prediction);
          this.#drawChoices();
          this.#drawResults();
          (this.button.hidden || this.button.disabled
            ? this.predictionForm.querySelector('button')
            : this.button
          ).focus();
        },
      },
      'Commit',
    );
    this.changeButton = h(
      'button',
      {
        type: 'button',
        class: 'link',
        onclick: () => {
          this.prediction = {};
          this.page.memory.set(lesson.slug, {});
          this.#drawChoices();
          this.#drawResults();
          this.predictionForm.querySelector('input').focus();
        },
      },
      'Change prediction',
    );
    setChildren(
      this.predictionForm,
      h('legend', { class: 'vh' }, lesson.predict),
      lesson.choices.map((text, i) =>
        h(
          'label',
          null,
          h('input', {
            type: 'radio',
            name: `kg-predict-${lesson.slug}`,
            value: i,
            checked: prediction.choice === i,
            disabled: committed,
            onchange: () => setAttr(commitButton, 'disabled', null),
          }),
          h('span', null, text),
        ),
      ),
      committed ? this.changeButton : commitButton,
    );
  }

  #numberText(name) {
    return this.prediction.choice != null ? (this.state?.numbers[name] ?? null) : null;
  }

  /** The placeholder for a number from the run. */
  #renderNumber(name) {
    const [source, variant, number] = name.split('.');
    if (source === 'seeds')
      return h('span', { class: 'num' }, this.lesson.seeds[number]?.[variant] ?? 'not measured');
    const node = h('output', { class: 'place', 'data-number': name });
    this.numberNodes.set(name, [...(this.numberNodes.get(name) ?? []), node]);
    return node;
  }

  #fillNumber(node, name) {
    const text = this.#numberText(name);
    setText(node, text ?? '…');
    setAttr(node, 'data-tip', text == null ? 'This number comes from your run.' : null);
    setAttr(node, 'data-empty', text == null);
  }
}
