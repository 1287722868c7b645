// The glossary as a searchable list; each term has its own address.

import * as address from '../core/address.js';
import { h, put, setAttr, setText } from '../core/dom.js';
import { symbols } from '../core/prose.js';

/** @import { GlossaryTerm } from '../core/types.js' */
/** @import { Lessons } from './lessons.js' */

/** The glossary. */
export class GlossaryView {
  /**
   * @param {HTMLElement} body
   * @param {Lessons} page
   * @param {{ terms: GlossaryTerm[] }} told
   * @param {string | null} wanted The term to scroll to.
   */
  constructor(body, page, { terms }, wanted) {
    this.rows = terms.map((term) => ({
      term,
      text: `${term.name} ${term.also.join(' ')} ${term.tip}`.toLowerCase(),
      root: this.#row(page, term, terms),
    }));
    this.search = h('input', {
      type: 'search',
      'aria-label': 'Search the glossary',
      placeholder: 'Search',
      autocomplete: 'off',
      spellcheck: 'false',
      oninput: () => this.#filter(),
    });
    this.count = h('p', { class: 'muted', role: 'status' });
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
      h('h2', { class: 'title' }, 'Glossary'),
      h('div', { class: 'find' }, this.search, this.count),
      h(
        'dl',
        { class: 'glossary' },
        this.rows.map((row) => row.root),
      ),
    );
    this.#filter();
    const there = this.rows.find((row) => row.term.id === wanted);
    if (!there && matchMedia('(hover: hover)').matches)
      // on a phone it would bring the keyboard up
      requestAnimationFrame(() => this.search.focus({ preventScroll: true }));
    if (there)
      requestAnimationFrame(() => {
        there.root.scrollIntoView({ block: 'center' });
        there.root.classList.add('here');
        /** @type {HTMLElement} */ (there.root.querySelector('dt a')).focus({
          preventScroll: true,
        });
      });
  }

  #row(page, term, terms) {
    const to = (id) => address.link({ tab: 'lessons', lesson: 'glossary', term: id });
    const link = (id, text, props) =>
      h('a', { ...props, href: to(id), onclick: (event) => page.link(event, to(id)) }, text);
    const see = term.see.map((id) => terms.find((other) => other.id === id));
    return h(
      'div',
      { id: `term-${term.id}` },
      h(
        'dt',
        null,
        link(term.id, symbols(term.name)),
        term.also.length ? h('span', { class: 'muted' }, ' ', symbols(term.also.join(', '))) : null,
        term.equation ? h('small', { class: 'muted num' }, term.equation) : null,
      ),
      h(
        'dd',
        null,
        h('p', null, symbols(term.tip)),
        page.prose(term.more, () => ''),
        see.length
          ? h(
              'p',
              { class: 'muted small' },
              'See ',
              see.map((other, i) => [i ? ', ' : '', link(other.id, symbols(other.name))]),
            )
          : null,
      ),
    );
  }

  #filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const { root, text } of this.rows) {
      const fits = words.every((word) => text.includes(word));
      found += Number(fits);
      setAttr(root, 'hidden', !fits);
    }
    setText(
      this.count,
      words.length ? `${found} of ${this.rows.length} terms` : `${this.rows.length} terms`,
    );
  }
}
