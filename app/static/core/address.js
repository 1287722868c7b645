// The address holds page, selection, moment, speed and theme, so that a link or a reload shows the
// same view. t=7.4 is generator step 4 of iteration 7, t=7 the end of that iteration, and sel=7:3
// image 3 of iteration 7, counted from 1 as on the page; no t means live.

/** @import { Address, Changes, ImageKey, Moment, Pick } from './types.js' */

/**
 * Reads the address; malformed values count as absent.
 * @returns {Address}
 */
export function read() {
  const query = new URLSearchParams(location.search);
  const at = /^([1-9]\d{0,6}):([1-9]\d{0,6})$/.exec(query.get('sel') ?? '');
  const t = /^([1-9]\d{0,6})(?:\.([1-9]\d{0,6}))?$/.exec(query.get('t') ?? '');
  return {
    run: query.get('run'),
    sel: at ? { it: +at[1] - 1, pos: +at[2] - 1 } : null,
    t: t ? { iteration: +t[1] - 1, step: t[2] ? +t[2] - 1 : undefined } : null,
    space: query.get('space') === 'student' ? 'student' : 'teacher',
    dim: query.get('dim') === '3' ? 3 : 2,
    colour: /^[a-z0-9]{1,12}$/.exec(query.get('colour') ?? '')?.[0] ?? 'class',
    pick: pick(query.get('pick')),
    speed: ['slow', 'watch', 'full'].find((v) => v === query.get('speed')) ?? 'full',
  };
}

/**
 * Reads the selection in the scatter plot: c3 is a class, l… a lasso (lasso.js), c3l… a lasso
 * within a class.
 * @param {string | null} text
 * @returns {Pick}
 */
function pick(text) {
  const found = /^(?:c(\d{1,4}))?(?:l((?:[0-9a-z]{8}){3,40}))?$/.exec(text ?? '');
  return { held: found?.[1] ? +found[1] : null, lasso: found?.[2] ?? null };
}

/**
 * Writes the selection in the scatter plot.
 * @param {Pick} pick
 * @returns {string | null}
 */
export const picked = ({ held, lasso }) =>
  (held == null ? '' : `c${held}`) + (lasso ? `l${lasso}` : '') || null;

/**
 * Reads the Studio's part of the address; on another page, image and moment belong to that page.
 * @returns {Address}
 */
export const ofStudio = () =>
  onStudio() ? read() : { ...read(), run: null, sel: null, t: null, pick: pick(null) };

/**
 * Checks whether the address is the Studio's.
 * @returns {boolean}
 */
export const onStudio = () => !new URLSearchParams(location.search).get('tab');

/**
 * Computes the address with some parameters changed.
 * @param {Changes} changes
 * @returns {string}
 */
export function href(changes) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes))
    value == null ? url.searchParams.delete(name) : url.searchParams.set(name, String(value));
  return url.href.replaceAll('%3A', ':').replaceAll('%2C', ',');
}

/**
 * Changes the address in place: Back still leaves the page.
 * @param {Changes} changes
 * @param {boolean} [own] Done by the page, not by a person.
 */
export function write(changes, own = false) {
  history.replaceState(history.state, '', href(changes));
  told(own);
}

/**
 * Changes the address as a new history entry: Back returns to the current one.
 * @param {Changes} changes
 */
export function go(changes) {
  history.pushState(history.state, '', href(changes));
  told();
}

/** Announces that the page changed its own address; browsers only report Back and Forward. */
function told(own = false) {
  document.dispatchEvent(new CustomEvent('kg-address', { detail: { own } }));
}

/**
 * Syncs groups of switches with data-address="name" with the address, which holds the selected
 * value, or nothing for the first one.
 * @param {HTMLElement} root
 */
export function keepSwitches(root) {
  /** @returns {HTMLInputElement[]} */
  const radios = (group) => [...group.querySelectorAll('input[type=radio]')];
  /** @returns {NodeListOf<HTMLElement>} */
  const groups = () => root.querySelectorAll('[data-address]');
  const turn = () => {
    const query = new URLSearchParams(location.search);
    for (const group of groups()) {
      const all = radios(group);
      const wanted =
        all.find((radio) => radio.value === query.get(group.dataset.address)) ?? all[0];
      if (wanted.checked) continue;
      wanted.checked = true;
      wanted.dispatchEvent(new Event('change', { bubbles: true }));
    }
  };
  root.addEventListener('change', (event) => {
    const target = /** @type {HTMLInputElement} */ (event.target);
    /** @type {HTMLElement | null} */
    const group = target.closest('[data-address]');
    if (group)
      write({ [group.dataset.address]: radios(group)[0] === target ? null : target.value });
  });
  addEventListener('popstate', turn);
  turn();
}

/**
 * Writes an image.
 * @param {ImageKey | null} at
 * @returns {string | null}
 */
export const selection = (at) => at && `${at.it + 1}:${at.pos + 1}`;

/**
 * Writes a moment.
 * @param {Moment} moment
 * @param {number} steps Per iteration.
 * @returns {string}
 */
export const written = ({ iteration, step }, steps) =>
  step >= steps ? `${iteration + 1}` : `${iteration + 1}.${step + 1}`;
