// Page, selection, speed and theme live in the address: a link or a reload shows the same.

export function read() {
  const query = new URLSearchParams(location.search), at = /^(\d{1,7}):(\d{1,7})$/.exec(query.get('sel') ?? '');
  return { sel: at ? { it: +at[1], pos: +at[2] } : null, speed: ['slow', 'watch', 'full'].find((v) => v === query.get('speed')) ?? 'full' };
}

/** The address with some of it changed; null removes a name. */
export function href(changes) {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) value == null ? url.searchParams.delete(name) : url.searchParams.set(name, value);
  return url.href.replaceAll('%3A', ':');
}

/** Null removes a name. The history is not grown: Back leaves the page. */
export function write(changes) { history.replaceState(history.state, '', href(changes)); }

/** A place of its own in the history: Back returns to the page before. */
export function go(changes) { history.pushState(history.state, '', href(changes)); }
