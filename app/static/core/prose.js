// Draws the texts that the server made from Markdown (app/lessons/prose.py): known elements and
// text nodes, nothing else.

import { h, math } from './dom.js';

/** @import { Child } from './types.js' */

const TAGS = new Set([
  'p',
  'h3',
  'ul',
  'ol',
  'li',
  'blockquote',
  'strong',
  'em',
  'table',
  'thead',
  'tbody',
  'tr',
  'th',
  'td',
  'code',
  'pre',
]);

const signs = (nodes) =>
  nodes.map((node) =>
    typeof node === 'string'
      ? node
      : node.br
        ? h('br')
        : node.i
          ? h('i', null, node.i)
          : h(node.sub ? 'sub' : 'sup', null, signs(node.sub ?? node.sup)),
  );

/**
 * Typesets the symbols in a plain text as in the paper: L_kr with a subscript.
 * @param {string} text
 * @returns {Child[]}
 */
export const symbols = (text) =>
  text
    .split(/(?<!\w)([A-Za-zα-ω]_\w+)/)
    .map((piece, i) => (i % 2 ? math(piece[0], piece.slice(2)) : piece));

/**
 * Draws a text.
 * @param {any[]} nodes From app/lessons/prose.py.
 * @param {object} hooks
 * @param {(name: string) => Child} hooks.place Makes the element for a run's number.
 * @param {(event: MouseEvent, address: string) => void} hooks.go Follows a link within the page.
 * @returns {Child[]}
 */
export function draw(nodes, { place, go }) {
  return nodes.map((node) => {
    if (typeof node === 'string') return symbols(node);
    if (node.math)
      return h(
        node.block ? 'div' : 'span',
        { class: node.block ? 'formula' : 'math' },
        signs(node.math),
      );
    if (node.number) return place(node.number);
    if (node.term)
      return h('span', { class: 'term', tabindex: 0, 'data-term': node.term }, symbols(node.text));
    const children =
      node.tag === 'code' || node.tag === 'pre'
        ? node.children
        : draw(node.children, { place, go });
    if (node.tag === 'a')
      return h('a', { href: node.href, onclick: (event) => go(event, node.href) }, children);
    return TAGS.has(node.tag) ? h(node.tag, null, children) : h('span', null, children);
  });
}
