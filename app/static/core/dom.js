// Elements without markup strings: text always goes in as text, so nothing from a recipe or
// checkpoint can become code.

/** @import { Child, Piece, Props } from './types.js' */

const SVG = 'http://www.w3.org/2000/svg';

/**
 * Gives an element its attributes, listeners and children.
 * @template {HTMLElement | SVGElement} E
 * @param {E} node
 * @param {Props | null | undefined} props
 * @param {Child[]} children
 * @returns {E}
 */
function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value == null || value === false) continue;
    if (name === 'style') for (const [k, v] of Object.entries(value)) node.style.setProperty(k, v);
    else if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(2).filter((c) => c != null && c !== false));
  return node;
}

/**
 * Creates an HTML element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/**
 * Creates an SVG element.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[K]}
 */
export const s = (tag, props, ...children) =>
  fill(document.createElementNS(SVG, tag), props, children);

/**
 * Replaces the children of an element.
 * @template {Element} E
 * @param {E} node
 * @param {...Child} children
 * @returns {E} The same element.
 */
export const put = (node, ...children) => {
  node.replaceChildren(...children.flat(2).filter((c) => c != null && c !== false));
  return node;
};

/**
 * Sets the text of an element if it differs, so that an unchanged page costs nothing.
 * @param {Node} node
 * @param {string} text
 */
export const setText = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

/**
 * Sets an attribute if it differs; null and false remove it, true leaves it empty.
 * @param {Element} node
 * @param {string} name
 * @param {any} value
 */
export const setAttr = (node, name, value) => {
  if (value == null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value === true ? '' : value))
    node.setAttribute(name, value === true ? '' : value);
};

// ---- number formats
const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/**
 * Formats a whole number: 12,345.
 * @param {number} n
 * @returns {string}
 */
export const num = (n) => WHOLE.format(Math.round(n) + 0); // −0 is 0

/**
 * Formats a share in percent, without the sign. With decimals, only a share of 1 becomes 100, as in
 * app/live/format.py.
 * @param {number} share
 * @param {number} [digits]
 * @returns {string}
 */
export const percentage = (share, digits = 1) =>
  (share < 1 && digits ? Math.min(100 * share, 100 - 10 ** -digits) : 100 * share).toFixed(digits);

/**
 * Formats a share as a percentage.
 * @param {number} share
 * @param {number} [digits]
 * @returns {string}
 */
export const pct = (share, digits = 0) => `${percentage(share, digits)}%`;

/**
 * Formats a number with a typographic minus.
 * @param {number} v
 * @param {number} [digits]
 * @returns {string}
 */
export const signed = (v, digits = 2) => (v < 0 ? '−' : '') + Math.abs(v).toFixed(digits);

/**
 * Formats a duration.
 * @param {number} seconds
 * @returns {string}
 */
export const time = (seconds) =>
  seconds < 60
    ? `${Math.round(seconds)} s`
    : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;

/**
 * Formats a number in three characters, so that it fits a cell of a map (four if small and
 * negative): .42  1.3  −.04  13
 * @param {number} v
 * @returns {string}
 */
export function cell(v) {
  const sign = v < 0 ? '−' : '';
  const a = Math.abs(v);
  if (a < 0.005) return '0';
  if (a >= 9.95) return sign + a.toFixed(0);
  if (a >= 0.995) return sign + a.toFixed(1);
  return sign + a.toFixed(2).replace(/^0/, '');
}

// ---- small pieces used by several panels
/**
 * Makes a dot in a class's color.
 * @param {number} colour Slot of the palette.
 * @returns {HTMLElement}
 */
export const dot = (colour) => h('span', { class: 'dot', style: { '--c': `var(--c${colour})` } });

/**
 * Makes the badge of a run among several: a letter on its color.
 * @param {number} i
 * @returns {HTMLElement}
 */
export const badge = (i) => h('b', { class: 'badge', style: { '--r': `var(--r${i})` } }, 'ABCD'[i]);

/**
 * Makes a text with an explanation on hover and focus.
 * @param {Child} text
 * @param {string} tip
 * @returns {HTMLElement}
 */
export const term = (text, tip) => h('span', { class: 'term', tabindex: 0, 'data-tip': tip }, text);

/**
 * Sets a symbol as the paper does, such as L_kr: italic, with an upright subscript.
 * @param {string} letter
 * @param {string} index
 * @returns {HTMLElement}
 */
export const math = (letter, index) =>
  h('span', { class: 'math' }, letter, index && h('sub', null, index));

/**
 * Shows a square piece of a contact sheet, or a whole image; pixels stay square.
 * @param {Piece} piece
 * @param {number} size CSS pixels.
 * @param {string} [label] For screen readers; without one it is decoration.
 * @returns {HTMLElement}
 */
export function picture(piece, size, label) {
  const { url, col = 0, row = 0, columns = 1, rows = 1 } = piece;
  return h('span', {
    class: 'pix',
    role: label ? 'img' : null,
    'aria-label': label ?? null,
    'aria-hidden': label ? null : 'true',
    style: {
      width: `${size}px`,
      height: `${size}px`,
      'background-image': `url("${url}")`,
      'background-size': `${columns * size}px ${rows * size}px`,
      'background-position': `${-col * size}px ${-row * size}px`,
    },
  });
}

/**
 * Finds the largest size at which a pixel of an image is a whole number of the screen's.
 * @param {number} side Of the image.
 * @param {number} room CSS pixels.
 * @returns {number} CSS pixels; `room` if there is no such size.
 */
export function whole(side, room) {
  const dense = window.devicePixelRatio || 1;
  const k = Math.floor((room * dense) / side + 1e-6);
  return k ? (k * side) / dense : room;
}

/**
 * Computes the values of color variables for code that cannot read variables (Plotly, canvas).
 * @param {HTMLElement} host
 * @param {string[]} names
 * @returns {string[]}
 */
export function colours(host, names) {
  const probe = host.appendChild(h('i', { hidden: true }));
  const found = names.map((name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return found;
}
