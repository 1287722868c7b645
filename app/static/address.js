// Page, selection, speed and theme live in the address: a link or a reload shows the same.

export function read() {
  const query = new URLSearchParams(location.search), at = /^(\d{1,7}):(\d{1,7})$/.exec(query.get('sel') ?? '');
  return { sel: at ? { it: +at[1], pos: +at[2] } : null, speed: ['slow', 'watch', 'full'].find((v) => v === query.get('speed')) ?? 'full' };
}

/** The address with some of it changed; null removes a name. */
export function href(changes) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) value == null ? url.searchParams.delete(name) : url.searchParams.set(name, value);
  return url.href.replaceAll('%3A', ':').replaceAll('%2C', ',');
}

/** Null removes a name. The history is not grown: Back leaves the page. */
export function write(changes) { history.replaceState(history.state, '', href(changes)); told(); }

/** A place of its own in the history: Back returns to the page before. */
export function go(changes) { history.pushState(history.state, '', href(changes)); told(); }

/** The page has changed its own address; the browser tells only of Back and Forward. */
function told() { document.dispatchEvent(new Event('kg-address')); }

/** Groups of switches with data-address="name": the address has the chosen value, nothing where that is the first. */
export function keepSwitches(root) {
  const radios = (group) => [...group.querySelectorAll('input[type=radio]')];
  const turn = () => {
    const query = new URLSearchParams(location.search);
    for (const group of root.querySelectorAll('[data-address]')) {
      const all = radios(group), wanted = all.find((radio) => radio.value === query.get(group.dataset.address)) ?? all[0];
      if (wanted.checked) continue;
      wanted.checked = true;
      wanted.dispatchEvent(new Event('change', { bubbles: true }));
    }
  };
  root.addEventListener('change', ({ target }) => {
    const group = target.closest('[data-address]');
    if (group) write({ [group.dataset.address]: radios(group)[0] === target ? null : target.value });
  });
  addEventListener('popstate', turn);
  turn();
}
