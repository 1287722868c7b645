// Creates elements without markup strings. Text is always inserted as text, so nothing from a
// recipe or checkpoint can become code.

/** @import { Child, Crop, Props, Term } from './types.js' */

const SVG = 'http://www.w3.org/2000/svg';

/**
 * Sets an element's attributes, listeners and children.
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
export const setChildren = (node, ...children) => {
  node.replaceChildren(...children.flat(2).filter((c) => c != null && c !== false));
  return node;
};

/**
 * Sets the text of an element if it differs, so that an unchanged page is not touched.
 * @param {Node} node
 * @param {string} text
 */
export const setText = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

/**
 * Sets an attribute if it differs. Null and false remove it; true makes it empty.
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
export function cellText(v) {
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
 * @param {number} color Slot in the palette.
 * @returns {HTMLElement}
 */
export const dot = (color) => h('span', { class: 'dot', style: { '--c': `var(--c${color})` } });

/**
 * Makes the badge of a compared run: a letter on the run's color.
 * @param {number} i
 * @returns {HTMLElement}
 */
export const badge = (i) => h('b', { class: 'badge', style: { '--r': `var(--r${i})` } }, 'ABCD'[i]);

/**
 * Makes text with an explanation on hover and focus.
 * @param {Child} text
 * @param {string} tip
 * @returns {HTMLElement}
 */
export const term = (text, tip) => h('span', { class: 'term', tabindex: 0, 'data-tip': tip }, text);

/**
 * Typesets a symbol such as L_kr as in the paper: italic, with an upright subscript.
 * @param {string} letter
 * @param {string} index
 * @returns {HTMLElement}
 */
export const math = (letter, index) =>
  h('span', { class: 'math' }, letter, index && h('sub', null, index));

/**
 * The symbol of a loss term, such as L with the index kr; L with its name if it has none.
 * @param {Pick<Term, 'name' | 'symbol'>} term
 * @returns {HTMLElement}
 */
export function termSymbol({ name, symbol }) {
  const [letter, index] = (symbol || `L_${name}`).split('_');
  return math(letter, index);
}

/**
 * Shows a square crop of a contact sheet, or a whole image. Pixels stay square.
 * @param {Crop} crop
 * @param {number} size CSS pixels.
 * @param {string} [label] For screen readers. Without a label, they skip the image.
 * @returns {HTMLElement}
 */
export function picture(crop, size, label) {
  const { url, col = 0, row = 0, columns = 1, rows = 1 } = crop;
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
 * Finds the largest size at which each image pixel covers a whole number of screen pixels.
 * @param {number} side Of the image.
 * @param {number} available CSS pixels.
 * @returns {number} CSS pixels; `available` if there is no such size.
 */
export function crispSize(side, available) {
  const pixelRatio = window.devicePixelRatio || 1;
  const scale = Math.floor((available * pixelRatio) / side + 1e-6);
  return scale ? (scale * side) / pixelRatio : available;
}

/**
 * Computes the values of CSS color variables, for code that cannot use variables (Plotly, canvas).
 * @param {HTMLElement} host
 * @param {string[]} names
 * @returns {string[]}
 */
export function resolveColors(host, names) {
  const probe = host.appendChild(h('i', { hidden: true }));
  const values = names.map((name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return values;
}
