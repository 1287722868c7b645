// Renders the texts that the server generates from Markdown (app/lessons/prose.py). Creates only
// known elements and text nodes.

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

const renderMath = (nodes) =>
  nodes.map((node) =>
    typeof node === 'string'
      ? node
      : node.br
        ? h('br')
        : node.i
          ? h('i', null, node.i)
          : h(node.sub ? 'sub' : 'sup', null, renderMath(node.sub ?? node.sup)),
  );

/**
 * Typesets the symbols in a plain text as in the paper: L_kr with a subscript.
 * @param {string} text
 * @returns {Child[]}
 */
export const renderSymbols = (text) =>
  text
    .split(/(?<!\w)([A-Za-zα-ω]_\w+)/)
    .map((piece, i) => (i % 2 ? math(piece[0], piece.slice(2)) : piece));

/**
 * Renders a text.
 * @param {any[]} nodes From app/lessons/prose.py.
 * @param {object} hooks
 * @param {(name: string) => Child} hooks.numberNode Makes the element for a run's number.
 * @param {(event: MouseEvent, address: string) => void} hooks.followLink Follows a link within the
 *   page.
 * @returns {Child[]}
 */
export function draw(nodes, { numberNode, followLink }) {
  return nodes.map((node) => {
    if (typeof node === 'string') return renderSymbols(node);
    if (node.math)
      return h(
        node.block ? 'div' : 'span',
        { class: node.block ? 'formula' : 'math' },
        renderMath(node.math),
      );
    if (node.number) return numberNode(node.number);
    if (node.term)
      return h(
        'span',
        { class: 'term', tabindex: 0, 'data-term': node.term },
        renderSymbols(node.text),
      );
    const children =
      node.tag === 'code' || node.tag === 'pre'
        ? node.children
        : draw(node.children, { numberNode, followLink });
    if (node.tag === 'a')
      return h(
        'a',
        { href: node.href, onclick: (event) => followLink(event, node.href) },
        children,
      );
    return TAGS.has(node.tag) ? h(node.tag, null, children) : h('span', null, children);
  });
}
