// The address stores what a page shows, so that a link or a reload restores the same view. One
// table defines all parameters. Other modules read and write them as values, never as text.

/** @import { Address, Changes, ImageKey, Moment, Parameter, ScatterSelection } from './types.js' */

const RUN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$/;
export const MAX_RUNS = 4; // side by side
const PAGES = ['studio', 'inspect', 'compare', 'lessons', 'runs'];

/**
 * One of several values, by default the first.
 * @template {string | number} T
 * @param {T[]} values
 */
const oneOf = (...values) => ({
  defaultValue: values[0],
  parse: (text) => values.find((value) => String(value) === text),
  format: String,
});

/** Any text. What it means depends on the run being shown, which may have custom terms. */
const anyText = { defaultValue: null, parse: (text) => text || undefined, format: String };

/**
 * A whole number, counted from `first` in the address and from 0 in the code.
 * @param {0 | 1} first
 */
const integerFrom = (first) => ({
  defaultValue: null,
  parse: (text) => (/^\d{1,7}$/.test(text) && +text >= first ? +text - first : undefined),
  format: (/** @type {number} */ n) => String(n + first),
});

/** An image: 7:3 is image 3 of iteration 7. */
const image = {
  defaultValue: null,
  parse: (text) => {
    const match = /^([1-9]\d{0,6}):([1-9]\d{0,6})$/.exec(text);
    return match ? { it: +match[1] - 1, pos: +match[2] - 1 } : undefined;
  },
  format: (/** @type {ImageKey} */ { it, pos }) => `${it + 1}:${pos + 1}`,
};

/** A moment: 7.4 is generator step 4 of iteration 7; 7 alone is the end of that iteration. */
const moment = {
  defaultValue: null, // live
  parse: (text) => {
    const match = /^([1-9]\d{0,6})(?:\.([1-9]\d{0,6}))?$/.exec(text);
    if (!match) return undefined;
    return { iteration: +match[1] - 1, step: match[2] ? +match[2] - 1 : undefined };
  },
  format: (/** @type {Moment} */ { iteration, step }) =>
    step == null ? `${iteration + 1}` : `${iteration + 1}.${step + 1}`,
};

/**
 * A selection in the scatter plot: c3 is a class, l… a lasso (lasso.js), c3l… a lasso within a
 * class.
 */
const selection = {
  defaultValue: { selectedClass: null, lasso: null },
  parse: (text) => {
    const match = /^(?:c(\d{1,4}))?(?:l((?:[0-9a-z]{8}){3,40}))?$/.exec(text);
    if (!match) return undefined;
    return { selectedClass: match[1] ? +match[1] : null, lasso: match[2] ?? null };
  },
  format: (/** @type {ScatterSelection} */ { selectedClass, lasso }) =>
    (selectedClass == null ? '' : `c${selectedClass}`) + (lasso ? `l${lasso}` : ''),
};

/** What colors the points: a word, or the name of a loss term. */
const word = {
  defaultValue: 'class',
  parse: (text) => /^[a-z0-9]{1,12}$/.exec(text)?.[0],
  format: String,
};

const runs = {
  defaultValue: [],
  parse: (text) =>
    [...new Set(text.split(',').filter((name) => RUN.test(name)))].slice(0, MAX_RUNS),
  format: (/** @type {string[]} */ names) => names.join(','),
};

/** A position on an axis; null is the end of the axis. */
const axisPosition = {
  defaultValue: null,
  parse: (text) => (text.trim() && +text >= 0 && +text < Infinity ? +text : undefined),
  format: (/** @type {number} */ x) => String(Math.round(x)),
};

/**
 * Every parameter of the address. `elsewhere` says what happens to it while a page that does not
 * use it is shown:
 *
 * - `keep`: it is a preference: it stays in the address and in every copied link
 * - `unshared`: it stays in the address, but copied links leave it out
 * - `ignore`: another page uses the same name for itself, so pages that are not shown must not read
 *   it
 * - `remove`: it is removed
 *
 * `personal` parameters are neither copied nor sent to an audience. Gradio reserves the name
 * `page`.
 * @type {{ [name in keyof Address]: Parameter<Address[name]> }}
 */
export const PARAMETERS = {
  tab: { pages: PAGES, elsewhere: 'keep', ...oneOf(...PAGES) },
  run: { pages: ['studio', 'inspect'], elsewhere: 'ignore', ...anyText },
  sel: { pages: ['studio', 'inspect'], elsewhere: 'ignore', ...image },
  t: { pages: ['studio'], elsewhere: 'ignore', ...moment },
  pick: { pages: ['studio'], elsewhere: 'ignore', ...selection },
  space: { pages: ['studio'], elsewhere: 'keep', ...oneOf('teacher', 'student') },
  dim: { pages: ['studio'], elsewhere: 'keep', ...oneOf(2, 3) },
  colour: { pages: ['studio'], elsewhere: 'keep', ...word },
  over: { pages: ['studio'], elsewhere: 'keep', ...oneOf('image', 'cam') },
  as: { pages: ['studio'], elsewhere: 'keep', ...oneOf('numbers', 'surface') },
  speed: {
    pages: ['studio'],
    elsewhere: 'keep',
    personal: true,
    ...oneOf('full', 'watch', 'slow'),
  },
  class: { pages: ['inspect'], elsewhere: 'remove', ...integerFrom(0) },
  sort: { pages: ['inspect'], elsewhere: 'remove', ...anyText },
  where: { pages: ['inspect'], elsewhere: 'remove', ...anyText },
  step: { pages: ['inspect'], elsewhere: 'remove', ...integerFrom(1) },
  maps: { pages: ['inspect'], elsewhere: 'keep', ...oneOf('numbers', 'surface') },
  runs: { pages: ['compare'], elsewhere: 'unshared', ...runs },
  by: { pages: ['compare'], elsewhere: 'unshared', ...oneOf('budget', 'time', 'step') },
  point: { pages: ['compare'], elsewhere: 'unshared', ...axisPosition },
  lesson: { pages: ['lessons'], elsewhere: 'unshared', ...anyText },
  sweep: { pages: ['runs'], elsewhere: 'unshared', ...anyText },
  across: { pages: ['runs'], elsewhere: 'unshared', ...anyText },
  down: { pages: ['runs'], elsewhere: 'unshared', ...anyText },
  term: { pages: ['lessons'], elsewhere: 'unshared', ...anyText },
  __theme: {
    pages: PAGES,
    elsewhere: 'keep',
    personal: true,
    ...oneOf('light', 'dark'),
    defaultValue: null, // the system's setting; Gradio reads this parameter
  },
};

/** The parameters that an audience follows; the server checks them too (app/web/stage.py). */
const SHARED = { name: /^[a-z]{1,12}$/, value: /^[A-Za-z0-9:.,_-]{0,400}$/ };

// --- reading -------------------------------------------------------------------------------------

/**
 * Reads all parameters of a query. Missing or malformed ones get their defaults.
 * @param {string} query
 * @returns {Address}
 */
export function parse(query) {
  const search = new URLSearchParams(query);
  return mapParameters((name, { defaultValue, parse: parseValue }) => {
    const text = search.get(name);
    return (text == null ? undefined : parseValue(text)) ?? defaultValue;
  });
}

/** @returns {Address} */
const mapParameters = (compute) =>
  /** @type {any} */ (
    Object.fromEntries(
      Object.entries(PARAMETERS).map(([name, parameter]) => [name, compute(name, parameter)]),
    )
  );

/**
 * Reads the parameters of a page. Parameters of other pages, and those that the shown page
 * currently uses for itself, get their defaults.
 * @param {string} page
 * @returns {Address}
 */
export function read(page) {
  const all = parse(location.search);
  return mapParameters((name, { pages, elsewhere, defaultValue }) =>
    pages.includes(page) && (elsewhere !== 'ignore' || all.tab === page) ? all[name] : defaultValue,
  );
}

/**
 * Reads the name of the page from the address.
 * @returns {string}
 */
export const page = () => parse(location.search).tab;

/**
 * Formats a value for the address. The default becomes an empty string.
 * @template {keyof Address} Name
 * @param {Name} name
 * @param {Address[Name]} value
 * @returns {string}
 */
export function format(name, value) {
  const { defaultValue, format: formatValue } = PARAMETERS[name];
  if (value == null) return '';
  const text = formatValue(value);
  return defaultValue != null && text === formatValue(defaultValue) ? '' : text;
}

// --- writing -------------------------------------------------------------------------------------

/** Sets parameters of a URL; an empty text removes one. */
function withParameters(/** @type {URL} */ url, /** @type {[string, string][]} */ texts) {
  for (const [name, text] of texts)
    text ? url.searchParams.set(name, text) : url.searchParams.delete(name);
  return url;
}

/** Leaves 7:3 and a,b unescaped: both are valid in a query, and easier to read. */
const readable = (text) => text.replaceAll('%3A', ':').replaceAll('%2C', ',');

/** @returns {[string, string][]} */
const formatChanges = (/** @type {Changes} */ changes) =>
  Object.entries(changes).map(([name, value]) => [
    name,
    format(/** @type {keyof Address} */ (name), value),
  ]);

/**
 * Computes the address with some parameters changed. Unknown parameters stay.
 * @param {Changes} changes
 * @returns {string}
 */
export const href = (changes) =>
  readable(withParameters(new URL(location.href), formatChanges(changes)).href);

/**
 * Computes a relative link with only these parameters.
 * @param {Changes} changes
 * @returns {string}
 */
export const link = (changes) =>
  readable(withParameters(new URL('?', 'http://localhost'), formatChanges(changes)).search) || '?';

/** Changes that reset all matching parameters to their defaults. @returns {Changes} */
const resetWhere = (matches) =>
  Object.fromEntries(
    Object.entries(PARAMETERS)
      .filter(([, parameter]) => matches(parameter))
      .map(([name]) => [name, null]),
  );

/**
 * Computes a link to the current view that can be shared.
 * @param {string} forPage
 * @param {Changes} [changes]
 * @returns {string}
 */
export const shareableHref = (forPage, changes = {}) =>
  href({
    ...resetWhere(
      ({ pages, elsewhere, personal }) =>
        personal || (elsewhere === 'unshared' && !pages.includes(forPage)),
    ),
    ...changes,
  });

/**
 * Changes the address without adding a history entry.
 * @param {Changes} changes
 * @param {boolean} [automatic] The page made the change, not a person.
 */
export const write = (changes, automatic = false) => replace(href(changes), automatic);

/**
 * Changes the address and adds a history entry, so that Back returns to the current one.
 * @param {Changes} changes
 */
export function go(changes) {
  history.pushState(history.state, '', href(changes));
  announce();
}

/**
 * Removes the parameters that only concern a page, when that page is left.
 * @param {string} leftPage
 */
export const leave = (leftPage) =>
  write(resetWhere(({ pages, elsewhere }) => elsewhere === 'remove' && pages.includes(leftPage)));

function replace(url, automatic) {
  history.replaceState(history.state, '', url);
  announce(automatic);
}

/** Announces that the page changed its own address; browsers only report Back and Forward. */
function announce(automatic = false) {
  document.dispatchEvent(new CustomEvent('kg-address', { detail: { automatic } }));
}

// --- what an audience follows --------------------------------------------------------------------

/**
 * Extracts the parameters that an audience follows, in a fixed order. They stay text, because a
 * viewer's page may come from another version.
 * @param {string} [query]
 * @returns {Record<string, string>}
 */
export function shared(query = location.search) {
  const entries = [...new URLSearchParams(query)].filter(
    ([name, value]) =>
      SHARED.name.test(name) && SHARED.value.test(value) && !PARAMETERS[name]?.personal,
  );
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * Replaces the parameters that an audience follows.
 * @param {Record<string, string>} parameters
 */
export function follow(parameters) {
  const cleared = Object.keys(shared()).map((name) => [name, '']);
  const all = Object.entries({ ...Object.fromEntries(cleared), ...parameters });
  replace(readable(withParameters(new URL(location.href), all).href), false);
}

// --- the state of a history entry ----------------------------------------------------------------

/**
 * Saves the scroll position of a list in this history entry, for Back.
 * @param {any} state
 */
export const remember = (state) => history.replaceState({ ...history.state, kgWall: state }, '');

/**
 * Returns what was saved in this history entry.
 * @returns {any} Null if nothing was saved.
 */
export const remembered = () => history.state?.kgWall ?? null;

// --- switches ------------------------------------------------------------------------------------

/**
 * Syncs groups of switches marked with data-address="name" with the address, which stores the
 * selected value unless it is the first one.
 * @param {HTMLElement} root
 */
export function syncSwitches(root) {
  /** @returns {HTMLInputElement[]} */
  const radios = (group) => [...group.querySelectorAll('input[type=radio]')];
  /** @returns {NodeListOf<HTMLElement>} */
  const groups = () => root.querySelectorAll('[data-address]');
  const update = () => {
    const all = parse(location.search);
    for (const group of groups()) {
      const value = String(all[group.dataset.address]);
      const selected = radios(group).find((radio) => radio.value === value);
      if (selected.checked) continue;
      selected.checked = true;
      selected.dispatchEvent(new Event('change', { bubbles: true }));
    }
  };
  root.addEventListener('change', (event) => {
    const { value } = /** @type {HTMLInputElement} */ (event.target);
    /** @type {HTMLElement | null} */
    const group = /** @type {HTMLElement} */ (event.target).closest('[data-address]');
    const name = group?.dataset.address;
    if (name) write({ [name]: PARAMETERS[name].parse(value) });
  });
  addEventListener('popstate', update);
  update();
}
