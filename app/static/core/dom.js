// Elements without markup strings: text always goes in as text, so nothing from a recipe or
// checkpoint can become code.

const SVG = 'http://www.w3.org/2000/svg';

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

export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);
export const s = (tag, props, ...children) =>
  fill(document.createElementNS(SVG, tag), props, children);

/** Replace what `node` holds. */
export const put = (node, ...children) => {
  node.replaceChildren(...children.flat(2).filter((c) => c != null && c !== false));
  return node;
};

/** Set text or an attribute only where it differs, so that an unchanged page costs nothing. */
export const setText = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};
export const setAttr = (node, name, value) => {
  if (value == null || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value === true ? '' : value))
    node.setAttribute(name, value === true ? '' : value);
};

// ---- how numbers are written
const WHOLE = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
export const num = (n) => WHOLE.format(Math.round(n) + 0); // −0 is 0
export const pct = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;
export const signed = (v, digits = 2) => (v < 0 ? '−' : '') + Math.abs(v).toFixed(digits);
export const time = (seconds) =>
  seconds < 60
    ? `${Math.round(seconds)} s`
    : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
/**
 * Three signs, so that it fits a map's cell, and four of small negative values: .42  1.3  −.04  13
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
export const dot = (colour) => h('span', { class: 'dot', style: { '--c': `var(--c${colour})` } });
/** The sign of a run among several: a letter on its colour. */
export const badge = (i) => h('b', { class: 'badge', style: { '--r': `var(--r${i})` } }, 'ABCD'[i]);
export const term = (text, tip) => h('span', { class: 'term', tabindex: 0, 'data-tip': tip }, text);
/** The paper's symbols, L_kr for one: italic with an upright index below. */
export const math = (letter, index) =>
  h('span', { class: 'math' }, letter, index && h('sub', null, index));

/**
 * A square piece of a contact sheet (or a whole image), `size` CSS pixels wide; pixels stay square.
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
 * The largest size up to `room` CSS pixels at which a pixel of an image is a whole number of the
 * screen's; `room` where there is none.
 */
export function whole(side, room) {
  const dense = window.devicePixelRatio || 1;
  const k = Math.floor((room * dense) / side + 1e-6);
  return k ? (k * side) / dense : room;
}

/** The computed value of a colour variable, for those who cannot read variables (Plotly). */
export function colours(host, names) {
  const probe = host.appendChild(h('i', { hidden: true }));
  const found = names.map((name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return found;
}
