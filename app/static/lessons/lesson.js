// One lesson: question, prediction, switch, run, what happened, why. Its text is complete without a
// run; only the run's numbers are missing.

import * as address from '../core/address.js';
import { figures } from './lesson_figures.js';
import { NAMES, drawSwitch, drawTable } from './lesson_parts.js';
import { h, put, setAttr, setText, time } from '../core/dom.js';
import { symbols } from '../core/prose.js';
import { ACTIVE } from '../setup/sidebar.js';

/** @import { Lesson, Shown } from '../core/types.js' */
/** @import { Lessons } from './lessons.js' */

/** One lesson. */
export class LessonView {
  /**
   * @param {HTMLElement} body
   * @param {Lessons} page
   * @param {Lesson} told
   */
  constructor(body, page, told) {
    this.body = body;
    this.page = page;
    this.told = told;
    this.said = page.memory.of(told.slug);
    this.state = null;
    this.mark = '';
    this.variants = told.switch ? ['a', 'b'] : ['a'];
    this.places = new Map();
    const place = (name) => this.#place(name);
    const part = (i) => page.prose(told.text[i], place);
    this.predict = h('fieldset', { class: 'predict' });
    this.control = h('div', { class: 'flip' });
    this.status = h('p', { class: 'run-status', role: 'status' });
    this.bar = h('i', { class: 'bar', hidden: true }, h('b'));
    this.watch = h(
      'button',
      { type: 'button', class: 'link', hidden: true, onclick: () => page.studio() },
      'Watch in the Studio',
    );
    this.button = h('button', {
      type: 'button',
      class: 'btn primary run-it',
      'data-for': 'presenter',
      onclick: () => this.#run(),
    });
    this.again = h(
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
    this.wrong = h('p', { class: 'wrong', role: 'alert', hidden: true });
    this.verdict = h('p', { class: 'verdict', role: 'status' });
    this.table = h('div', { class: 'numbers' });
    this.figures = h('div', { class: 'figures' });
    this.after = h('div', { class: 'after' }, part(1));
    this.why = h(
      'div',
      null,
      h('div', { class: 'after' }, part(2)),
      told.paper && h('p', { class: 'paper' }, h('b', null, 'In the paper: '), symbols(told.paper)),
    );
    const section = (n, title, ...what) =>
      h(
        'section',
        { 'aria-label': title },
        h('h2', null, h('span', { class: 'mark', 'aria-hidden': 'true' }, n), title),
        what,
      );
    put(
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
      h('h2', { class: 'title' }, told.question),
      h(
        'p',
        { class: 'muted' },
        told.title,
        told.minutes
          ? ` · about ${told.minutes} min per run on two cores${told.switch ? '; most lessons share run A' : ''}`
          : ' · uses the bundled recording',
      ),
      h('div', { class: 'before' }, part(0)),
      section(1, 'Your prediction', h('p', null, symbols(told.predict)), this.predict),
      told.switch && section(2, 'The switch', this.control),
      section(
        told.switch ? 3 : 2,
        told.minutes ? 'Run it' : 'The recording',
        h('div', { class: 'go' }, this.button, this.status, this.watch, this.again),
        this.bar,
        this.wrong,
      ),
      section(
        told.switch ? 4 : 3,
        'What happened',
        this.verdict,
        this.after,
        this.table,
        this.figures,
      ),
      section(told.switch ? 5 : 4, 'Why', this.why),
      told.next
        ? h(
            'p',
            { class: 'next' },
            h(
              'a',
              {
                class: 'btn',
                href: address.link({ tab: 'lessons', lesson: told.next.slug }),
                onclick: (event) => page.link(event, event.currentTarget.getAttribute('href')),
              },
              `Next: ${told.next.title}`,
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
    this.#choices();
    if (told.switch) drawSwitch(this.control, told, this.variants);
    this.cells = drawTable(this.table, told, this.variants);
    this.#results();
  }

  /**
   * Takes an update of the run that everyone sees.
   * @param {Shown} shown With the live snapshot.
   */
  draw({ snapshot: snap }) {
    this.snap = snap;
    const mark = `${snap.run} ${snap.id} ${snap.phase}`;
    if (mark !== this.mark) {
      this.mark = mark;
      this.#look();
    }
    this.#progress();
  }

  async #look() {
    try {
      this.state = await this.page.ask(`lessons/${this.told.slug}/runs`);
    } catch {
      setTimeout(() => {
        if (this.page.shown === this) this.#look();
      }, 2000);
      return;
    } // the status line says that the server is not responding
    if (this.page.shown && this.page.shown !== this) return;
    this.#results();
    if (this.state.following && !ACTIVE.includes(this.snap?.phase))
      setTimeout(() => this.#look(), 700); // B starts in a moment
  }

  get #whole() {
    return Boolean(this.state) && this.variants.every((v) => this.state.runs[v]);
  }

  #results() {
    const { state, said, told } = this;
    for (const [name, nodes] of this.places) for (const node of nodes) this.#fill(node, name);
    for (const { name, node } of this.cells) {
      const text = this.#number(name);
      setText(node, text ?? '');
      setAttr(node, 'class', text == null ? 'empty' : null);
    }
    const committed = said.choice != null;
    const whole = this.#whole;
    setAttr(this.button, 'hidden', whole || this.page.watching);
    setAttr(this.again, 'hidden', !whole || !told.minutes || this.page.watching);
    const there = state && this.variants.filter((v) => state.runs[v]);
    setText(
      this.button,
      there?.length
        ? `Run ${this.variants
            .filter((v) => !state.runs[v])
            .map((v) => NAMES[v])
            .join(' and ')}`
        : told.minutes
          ? 'Run it'
          : 'Run it: about 3 min',
    );
    if (!whole)
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
        `You predicted: ${told.choices[said.choice]}. This run has no number to settle it.`,
      );
    else {
      const right = state.outcome === said.choice;
      put(
        this.verdict,
        h('b', null, right ? 'Your prediction was right: ' : 'You predicted '),
        `“${told.choices[said.choice]}”`,
        right ? '.' : ['. ', h('b', null, 'The result: '), `“${told.choices[state.outcome]}”.`],
      );
      if (!said.done) {
        this.said = { ...said, done: true };
        this.page.memory.keep(told.slug, this.said);
        this.page.done();
      }
    }
    setAttr(this.verdict, 'data-right', whole && committed && state.outcome === said.choice);
    for (const node of [this.after, this.why, this.table, this.figures])
      setAttr(node, 'hidden', !committed); // hidden until the reader has committed
    const key = whole && committed ? JSON.stringify(state.runs) : '';
    if (key !== this.drawn) {
      this.drawn = key;
      if (key) this.#pictures(key);
      else put(this.figures);
    }
    this.#progress();
  }

  async #pictures(key) {
    const { runs } = this.state;
    try {
      const found = await Promise.all(
        this.variants.map((v) =>
          this.page.ask(
            `lesson-figures/${encodeURIComponent(runs[v].run)}/${runs[v].attempt}?id=${encodeURIComponent(runs[v].id)}`,
          ),
        ),
      );
      if (key === this.drawn) put(this.figures, figures(this.told, found));
    } catch (error) {
      put(this.figures, h('p', { class: 'muted' }, error.message));
    }
  }

  /** The current state, in the lesson's words. */
  #progress() {
    const { snap, state, said } = this;
    const going = state?.going;
    const active = Boolean(snap) && ACTIVE.includes(snap.phase);
    const other = active && !going;
    const busy = active || Boolean(state?.following);
    setAttr(this.button, 'disabled', said.choice == null || busy || this.asking || !state);
    setAttr(this.again, 'disabled', busy || this.asking);
    setAttr(this.watch, 'hidden', !active);
    // a prediction cannot be withdrawn during its run
    setAttr(this.withdraw, 'hidden', Boolean(going && active));
    setAttr(this.bar, 'hidden', !(going && active));
    if (going && active) {
      /** @type {HTMLElement} */ (this.bar.firstChild).style.width =
        `${(100 * snap.progress.share).toFixed(1)}%`;
      const words = snap.sentence.map((piece) => piece.text ?? snap.classes[piece.class]).join('');
      setText(
        this.status,
        `${this.variants.length > 1 ? `Run ${NAMES[going]}${state.following ? ', then B' : ''}: ` : ''}${words}${snap.progress.left_s ? ` About ${time(snap.progress.left_s)} left.` : ''}`,
      );
    } else if (state?.following) setText(this.status, 'Run B starts in a moment.');
    else if (this.#whole)
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
    else if (other)
      setText(
        this.status,
        `Another run is in progress (${snap.run}). Wait for it to end, or stop it first.`,
      );
    else if (this.page.watching)
      setText(this.status, 'The presenter runs it, and you see it here.');
    else if (said.choice == null) setText(this.status, 'Make a prediction, then run it.');
    else {
      const there = this.variants.filter((v) => state?.runs[v]);
      setText(
        this.status,
        there.length
          ? `Run ${NAMES[there[0]]} already exists.`
          : !this.told.minutes
            ? 'The recording is not in this runs folder, but running the same recipe works too.'
            : this.variants.length > 1
              ? 'Runs A, then B. You can leave this page in the meantime.'
              : '',
      );
    }
  }

  async #run(again = false) {
    this.asking = true;
    setAttr(this.wrong, 'hidden', true);
    this.#progress();
    try {
      await this.page.ask(`lessons/${this.told.slug}/run`, { again });
      this.page.soon();
    } catch (error) {
      setText(this.wrong, error.message);
      setAttr(this.wrong, 'hidden', false);
    }
    this.asking = false;
    await this.#look();
  }

  // ---- the parts

  #choices() {
    const { told, said } = this;
    const committed = said.choice != null;
    const commit = h(
      'button',
      {
        type: 'button',
        class: 'btn',
        disabled: true,
        onclick: () => {
          const choice = +(
            /** @type {HTMLInputElement} */ (this.predict.querySelector('input:checked')).value
          );
          this.said = { choice, done: false };
          this.page.memory.keep(told.slug, this.said);
          this.#choices();
          this.#results();
          (this.button.hidden || this.button.disabled
            ? this.predict.querySelector('button')
            : this.button
          ).focus();
        },
      },
      'Commit',
    );
    this.withdraw = h(
      'button',
      {
        type: 'button',
        class: 'link',
        onclick: () => {
          this.said = {};
          this.page.memory.keep(told.slug, {});
          this.#choices();
          this.#results();
          this.predict.querySelector('input').focus();
        },
      },
      'Change prediction',
    );
    put(
      this.predict,
      h('legend', { class: 'vh' }, told.predict),
      told.choices.map((text, i) =>
        h(
          'label',
          null,
          h('input', {
            type: 'radio',
            name: `kg-predict-${told.slug}`,
            value: i,
            checked: said.choice === i,
            disabled: committed,
            onchange: () => setAttr(commit, 'disabled', null),
          }),
          h('span', null, text),
        ),
      ),
      committed ? this.withdraw : commit,
    );
  }

  #number(name) {
    return this.said.choice != null ? (this.state?.numbers[name] ?? null) : null;
  }

  /** The placeholder for a number from the run. */
  #place(name) {
    const [of, variant, number] = name.split('.');
    if (of === 'seeds')
      return h('span', { class: 'num' }, this.told.seeds[number]?.[variant] ?? 'not measured');
    const node = h('output', { class: 'place', 'data-number': name });
    this.places.set(name, [...(this.places.get(name) ?? []), node]);
    return node;
  }

  #fill(node, name) {
    const text = this.#number(name);
    setText(node, text ?? '…');
    setAttr(node, 'data-tip', text == null ? 'This number comes from your run.' : null);
    setAttr(node, 'data-empty', text == null);
  }
}
