// The glossary as a searchable list. Each term has its own address.

import * as address from '../core/address.js';
import { h, setChildren, setAttr, setText } from '../core/dom.js';
import { renderSymbols } from '../core/prose.js';

/** @import { GlossaryTerm } from '../core/types.js' */
/** @import { Lessons } from './lessons.js' */

/** The glossary. */
export class GlossaryView {
  /**
   * @param {HTMLElement} body
   * @param {Lessons} page
   * @param {{ terms: GlossaryTerm[] }} glossary
   * @param {string | null} requestedTerm The term to scroll to.
   */
  constructor(body, page, { terms }, requestedTerm) {
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
      h('h2', { class: 'title' }, 'Glossary'),
      h('div', { class: 'find' }, this.search, this.count),
      h(
        'dl',
        { class: 'glossary' },
        this.rows.map((row) => row.root),
      ),
    );
    this.#filter();
    const target = this.rows.find((row) => row.term.id === requestedTerm);
    if (!target && matchMedia('(hover: hover)').matches)
      // on a phone, this would open the keyboard
      requestAnimationFrame(() => this.search.focus({ preventScroll: true }));
    if (target)
      requestAnimationFrame(() => {
        target.root.scrollIntoView({ block: 'center' });
        target.root.classList.add('here');
        /** @type {HTMLElement} */ (target.root.querySelector('dt a')).focus({
          preventScroll: true,
        });
      });
  }

  #row(page, term, terms) {
    const hrefOf = (id) => address.link({ tab: 'lessons', lesson: 'glossary', term: id });
    const renderLink = (id, text, props) =>
      h(
        'a',
        { ...props, href: hrefOf(id), onclick: (event) => page.link(event, hrefOf(id)) },
        text,
      );
    const related = term.see.map((id) => terms.find((other) => other.id === id));
    return h(
      'div',
      { id: `term-${term.id}` },
      h(
        'dt',
        null,
        renderLink(term.id, renderSymbols(term.name)),
        term.also.length
          ? h('span', { class: 'muted' }, ' ', renderSymbols(term.also.join(', ')))
          : null,
        term.equation ? h('small', { class: 'muted num' }, term.equation) : null,
      ),
      h(
        'dd',
        null,
        h('p', null, renderSymbols(term.tip)),
        page.prose(term.more, () => ''),
        related.length
          ? h(
              'p',
              { class: 'muted small' },
              'See ',
              related.map((other, i) => [
                i ? ', ' : '',
                renderLink(other.id, renderSymbols(other.name)),
              ]),
            )
          : null,
      ),
    );
  }

  #filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const { root, text } of this.rows) {
      const matches = words.every((word) => text.includes(word));
      count += Number(matches);
      setAttr(root, 'hidden', !matches);
    }
    setText(
      this.count,
      words.length ? `${count} of ${this.rows.length} terms` : `${this.rows.length} terms`,
    );
  }
}
