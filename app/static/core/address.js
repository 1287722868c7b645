// The address holds what a page shows, so that a link or a reload shows the same. All its
// parameters are in one table; every module reads and writes them here, as values, never as text.

/** @import { Address, Changes, ImageKey, Moment, Parameter, Pick } from './types.js' */

const RUN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$/;
export const MOST_RUNS = 4; // side by side
const PAGES = ['studio', 'inspect', 'compare', 'lessons', 'runs'];

/**
 * One of several values, by default the first.
 * @template {string | number} T
 * @param {T[]} values
 */
const choice = (...values) => ({
  fallback: values[0],
  parse: (text) => values.find((value) => String(value) === text),
  format: String,
});

/** Any text. Only the run that is shown can tell what it means: it may have terms of its own. */
const anything = { fallback: null, parse: (text) => text || undefined, format: String };

/**
 * A whole number, which people count from `first` and the page from 0.
 * @param {0 | 1} first
 */
const count = (first) => ({
  fallback: null,
  parse: (text) => (/^\d{1,7}$/.test(text) && +text >= first ? +text - first : undefined),
  format: (/** @type {number} */ n) => String(n + first),
});

/** An image: 7:3 is image 3 of iteration 7. */
const image = {
  fallback: null,
  parse: (text) => {
    const at = /^([1-9]\d{0,6}):([1-9]\d{0,6})$/.exec(text);
    return at ? { it: +at[1] - 1, pos: +at[2] - 1 } : undefined;
  },
  format: (/** @type {ImageKey} */ { it, pos }) => `${it + 1}:${pos + 1}`,
};

/** A moment: 7.4 is generator step 4 of iteration 7, 7 the end of that iteration. */
const moment = {
  fallback: null, // live
  parse: (text) => {
    const t = /^([1-9]\d{0,6})(?:\.([1-9]\d{0,6}))?$/.exec(text);
    return t ? { iteration: +t[1] - 1, step: t[2] ? +t[2] - 1 : undefined } : undefined;
  },
  format: (/** @type {Moment} */ { iteration, step }) =>
    step == null ? `${iteration + 1}` : `${iteration + 1}.${step + 1}`,
};

/**
 * A selection in the scatter plot: c3 is a class, l… a lasso (lasso.js), c3l… a lasso within a
 * class.
 */
const pick = {
  fallback: { held: null, lasso: null },
  parse: (text) => {
    const found = /^(?:c(\d{1,4}))?(?:l((?:[0-9a-z]{8}){3,40}))?$/.exec(text);
    return found ? { held: found[1] ? +found[1] : null, lasso: found[2] ?? null } : undefined;
  },
  format: (/** @type {Pick} */ { held, lasso }) =>
    (held == null ? '' : `c${held}`) + (lasso ? `l${lasso}` : ''),
};

/** What colors the points: a word, or the name of a loss term. */
const word = {
  fallback: 'class',
  parse: (text) => /^[a-z0-9]{1,12}$/.exec(text)?.[0],
  format: String,
};

const runs = {
  fallback: [],
  parse: (text) =>
    [...new Set(text.split(',').filter((name) => RUN.test(name)))].slice(0, MOST_RUNS),
  format: (/** @type {string[]} */ names) => names.join(','),
};

/** A place on an axis; null is its end. */
const place = {
  fallback: null,
  parse: (text) => (text.trim() && +text >= 0 && +text < Infinity ? +text : undefined),
  format: (/** @type {number} */ x) => String(Math.round(x)),
};

/**
 * Every parameter of the address. `elsewhere` says what becomes of it while a page is shown that
 * does not have it:
 *
 * - `kept`: a preference, which applies again on return and is part of every link
 * - `waits`: it stays for the return, but a copied link leaves it out
 * - `theirs`: it belongs to the page that is shown, so the others must not read it meanwhile
 * - `gone`: it is removed
 *
 * `personal` ones are neither copied nor shown to an audience. The name `page` is Gradio's.
 * @type {{ [name in keyof Address]: Parameter<Address[name]> }}
 */
export const PARAMETERS = {
  tab: { pages: PAGES, elsewhere: 'kept', ...choice(...PAGES) },
  run: { pages: ['studio', 'inspect'], elsewhere: 'theirs', ...anything },
  sel: { pages: ['studio', 'inspect'], elsewhere: 'theirs', ...image },
  t: { pages: ['studio'], elsewhere: 'theirs', ...moment },
  pick: { pages: ['studio'], elsewhere: 'theirs', ...pick },
  space: { pages: ['studio'], elsewhere: 'kept', ...choice('teacher', 'student') },
  dim: { pages: ['studio'], elsewhere: 'kept', ...choice(2, 3) },
  colour: { pages: ['studio'], elsewhere: 'kept', ...word },
  over: { pages: ['studio'], elsewhere: 'kept', ...choice('image', 'cam') },
  as: { pages: ['studio'], elsewhere: 'kept', ...choice('numbers', 'surface') },
  speed: {
    pages: ['studio'],
    elsewhere: 'kept',
    personal: true,
    ...choice('full', 'watch', 'slow'),
  },
  class: { pages: ['inspect'], elsewhere: 'gone', ...count(0) },
  sort: { pages: ['inspect'], elsewhere: 'gone', ...anything },
  where: { pages: ['inspect'], elsewhere: 'gone', ...anything },
  step: { pages: ['inspect'], elsewhere: 'gone', ...count(1) },
  maps: { pages: ['inspect'], elsewhere: 'kept', ...choice('numbers', 'surface') },
  runs: { pages: ['compare'], elsewhere: 'waits', ...runs },
  by: { pages: ['compare'], elsewhere: 'waits', ...choice('budget', 'time', 'step') },
  point: { pages: ['compare'], elsewhere: 'waits', ...place },
  lesson: { pages: ['lessons'], elsewhere: 'waits', ...anything },
  term: { pages: ['lessons'], elsewhere: 'waits', ...anything },
  __theme: {
    pages: PAGES,
    elsewhere: 'kept',
    personal: true,
    ...choice('light', 'dark'),
    fallback: null, // as the system has it; read by Gradio
  },
};

/** What an audience follows; the server checks the same (app/web/stage.py). */
const SHARED = { name: /^[a-z]{1,12}$/, value: /^[A-Za-z0-9:.,_-]{0,400}$/ };

// --- reading -------------------------------------------------------------------------------------

/**
 * Reads all parameters of a query; what is missing or malformed has its default.
 * @param {string} query
 * @returns {Address}
 */
export function parse(query) {
  const texts = new URLSearchParams(query);
  return values((name, { fallback, parse: of }) => {
    const text = texts.get(name);
    return (text == null ? undefined : of(text)) ?? fallback;
  });
}

/** @returns {Address} */
const values = (of) =>
  /** @type {any} */ (
    Object.fromEntries(Object.entries(PARAMETERS).map(([name, one]) => [name, of(name, one)]))
  );

/**
 * Reads the address as a page sees it: parameters of other pages, and those that meanwhile belong
 * to the page that is shown, have their defaults.
 * @param {string} page
 * @returns {Address}
 */
export function read(page) {
  const all = parse(location.search);
  return values((name, { pages, elsewhere, fallback }) =>
    pages.includes(page) && (elsewhere !== 'theirs' || all.tab === page) ? all[name] : fallback,
  );
}

/**
 * Reads which page the address is of.
 * @returns {string}
 */
export const page = () => parse(location.search).tab;

/**
 * Writes a value as in the address; empty for the default.
 * @template {keyof Address} Name
 * @param {Name} name
 * @param {Address[Name]} value
 * @returns {string}
 */
export function format(name, value) {
  const { fallback, format: of } = PARAMETERS[name];
  if (value == null) return '';
  const text = of(value);
  return fallback != null && text === of(fallback) ? '' : text;
}

// --- writing -------------------------------------------------------------------------------------

/** Sets texts by name; an empty one is left out. */
function changed(/** @type {URL} */ url, /** @type {[string, string][]} */ texts) {
  for (const [name, text] of texts)
    text ? url.searchParams.set(name, text) : url.searchParams.delete(name);
  return url;
}

/** Keeps 7:3 and a,b as they are: they are allowed in a query, and legible. */
const legible = (text) => text.replaceAll('%3A', ':').replaceAll('%2C', ',');

/** @returns {[string, string][]} */
const texts = (/** @type {Changes} */ changes) =>
  Object.entries(changes).map(([name, value]) => [
    name,
    format(/** @type {keyof Address} */ (name), value),
  ]);

/**
 * Computes the address with some parameters changed; those that nothing here knows stay.
 * @param {Changes} changes
 * @returns {string}
 */
export const href = (changes) => legible(changed(new URL(location.href), texts(changes)).href);

/**
 * Computes a link, relative to the page, with these parameters and no others.
 * @param {Changes} changes
 * @returns {string}
 */
export const link = (changes) =>
  legible(changed(new URL('?', 'http://localhost'), texts(changes)).search) || '?';

/** The parameters, each with its default, that fit. @returns {Changes} */
const without = (fits) =>
  Object.fromEntries(
    Object.entries(PARAMETERS)
      .filter(([, one]) => fits(one))
      .map(([name]) => [name, null]),
  );

/**
 * Computes the link to what a page shows, for someone else.
 * @param {string} of The page.
 * @param {Changes} [changes]
 * @returns {string}
 */
export const copied = (of, changes = {}) =>
  href({
    ...without(
      ({ pages, elsewhere, personal }) =>
        personal || (elsewhere === 'waits' && !pages.includes(of)),
    ),
    ...changes,
  });

/**
 * Changes the address in place: Back still leaves the page.
 * @param {Changes} changes
 * @param {boolean} [own] Done by the page, not by a person.
 */
export const write = (changes, own = false) => replace(href(changes), own);

/**
 * Changes the address as a new history entry: Back returns to the current one.
 * @param {Changes} changes
 */
export function go(changes) {
  history.pushState(history.state, '', href(changes));
  told();
}

/**
 * Removes what only concerns the page that was left.
 * @param {string} left
 */
export const leave = (left) =>
  write(without(({ pages, elsewhere }) => elsewhere === 'gone' && pages.includes(left)));

function replace(url, own) {
  history.replaceState(history.state, '', url);
  told(own);
}

/** Announces that the page changed its own address; browsers only report Back and Forward. */
function told(own = false) {
  document.dispatchEvent(new CustomEvent('kg-address', { detail: { own } }));
}

// --- what an audience follows --------------------------------------------------------------------

/**
 * Extracts the part of a query that followers share, in a fixed order, as texts: a viewer's page
 * may be of another version.
 * @param {string} [query]
 * @returns {Record<string, string>}
 */
export function shared(query = location.search) {
  const found = [...new URLSearchParams(query)].filter(
    ([name, value]) =>
      SHARED.name.test(name) && SHARED.value.test(value) && !PARAMETERS[name]?.personal,
  );
  return Object.fromEntries(found.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * Replaces the part of the address that followers share.
 * @param {Record<string, string>} wanted
 */
export function follow(wanted) {
  const none = Object.keys(shared()).map((name) => [name, '']);
  const all = Object.entries({ ...Object.fromEntries(none), ...wanted });
  replace(legible(changed(new URL(location.href), all).href), false);
}

// --- what a history entry holds ------------------------------------------------------------------

/**
 * Remembers where a list was scrolled to, for Back.
 * @param {any} where
 */
export const remember = (where) => history.replaceState({ ...history.state, kgWall: where }, '');

/**
 * Returns what this history entry remembers.
 * @returns {any} Null if nothing.
 */
export const remembered = () => history.state?.kgWall ?? null;

// --- switches ------------------------------------------------------------------------------------

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
    const all = parse(location.search);
    for (const group of groups()) {
      const value = String(all[group.dataset.address]);
      const wanted = radios(group).find((radio) => radio.value === value);
      if (wanted.checked) continue;
      wanted.checked = true;
      wanted.dispatchEvent(new Event('change', { bubbles: true }));
    }
  };
  root.addEventListener('change', (event) => {
    const { value } = /** @type {HTMLInputElement} */ (event.target);
    /** @type {HTMLElement | null} */
    const group = /** @type {HTMLElement} */ (event.target).closest('[data-address]');
    const name = group?.dataset.address;
    if (name) write({ [name]: PARAMETERS[name].parse(value) });
  });
  addEventListener('popstate', turn);
  turn();
}
