// Page, selection, moment, speed and theme live in the address: a link or a reload shows the same.
// t=7.4 is generator step 4 of iteration 7, t=7 that iteration's end, sel=7:3 image 3 of iteration
// 7, counted as the page says them; no t is live.

export function read() {
  const query = new URLSearchParams(location.search);
  const at = /^([1-9]\d{0,6}):([1-9]\d{0,6})$/.exec(query.get('sel') ?? '');
  const t = /^([1-9]\d{0,6})(?:\.([1-9]\d{0,6}))?$/.exec(query.get('t') ?? '');
  return {
    run: query.get('run'),
    sel: at ? { it: at[1] - 1, pos: at[2] - 1 } : null,
    t: t ? { iteration: t[1] - 1, step: t[2] ? t[2] - 1 : undefined } : null,
    space: query.get('space') === 'student' ? 'student' : 'teacher',
    dim: query.get('dim') === '3' ? 3 : 2,
    colour: /^[a-z0-9]{1,12}$/.exec(query.get('colour') ?? '')?.[0] ?? 'class',
    pick: pick(query.get('pick')),
    speed: ['slow', 'watch', 'full'].find((v) => v === query.get('speed')) ?? 'full',
  };
}

/**
 * What is selected in the scatter: c3 a class, l… a lasso (lasso.js), c3l… a lasso of a class's.
 */
function pick(text) {
  const found = /^(?:c(\d{1,4}))?(?:l((?:[0-9a-z]{8}){3,40}))?$/.exec(text ?? '');
  return { held: found?.[1] ? +found[1] : null, lasso: found?.[2] ?? null };
}

export const picked = ({ held, lasso }) =>
  (held == null ? '' : `c${held}`) + (lasso ? `l${lasso}` : '') || null;

/** What the Studio reads of an address: on another page, image and moment are that page's. */
export const ofStudio = () =>
  onStudio() ? read() : { ...read(), run: null, sel: null, t: null, pick: pick(null) };
export const onStudio = () => !new URLSearchParams(location.search).get('tab');

/** The address with some of it changed; null removes a name. */
export function href(changes) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes))
    value == null ? url.searchParams.delete(name) : url.searchParams.set(name, value);
  return url.href.replaceAll('%3A', ':').replaceAll('%2C', ',');
}

/**
 * Null removes a name. The history is not grown: Back leaves the page. `own`: the page's doing, not
 * a person's.
 */
export function write(changes, own = false) {
  history.replaceState(history.state, '', href(changes));
  told(own);
}

/** A place of its own in the history: Back returns to the page before. */
export function go(changes) {
  history.pushState(history.state, '', href(changes));
  told();
}

/** The page has changed its own address; the browser tells only of Back and Forward. */
function told(own = false) {
  document.dispatchEvent(new CustomEvent('kg-address', { detail: { own } }));
}

/**
 * Groups of switches with data-address="name": the address has the chosen value, nothing where that
 * is the first.
 */
export function keepSwitches(root) {
  const radios = (group) => [...group.querySelectorAll('input[type=radio]')];
  const turn = () => {
    const query = new URLSearchParams(location.search);
    for (const group of root.querySelectorAll('[data-address]')) {
      const all = radios(group);
      const wanted =
        all.find((radio) => radio.value === query.get(group.dataset.address)) ?? all[0];
      if (wanted.checked) continue;
      wanted.checked = true;
      wanted.dispatchEvent(new Event('change', { bubbles: true }));
    }
  };
  root.addEventListener('change', ({ target }) => {
    const group = target.closest('[data-address]');
    if (group)
      write({ [group.dataset.address]: radios(group)[0] === target ? null : target.value });
  });
  addEventListener('popstate', turn);
  turn();
}

/** How an image is written, {it, pos} or null. */
export const selection = (at) => at && `${at.it + 1}:${at.pos + 1}`;

/** How a moment is written, {iteration, step} of a run with so many steps an iteration. */
export const written = ({ iteration, step }, steps) =>
  step >= steps ? `${iteration + 1}` : `${iteration + 1}.${step + 1}`;
