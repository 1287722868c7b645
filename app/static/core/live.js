// Polls the snapshot: one conditional GET, which the server holds until there is something new, or
// answers with 304 after at most a second. Nothing is requested while the page is hidden.

/** @import { Snapshot } from './types.js' */

const PERIOD = 400;
const PATIENCE = 5000;
const RETRY = 1000;

/**
 * Polls the snapshot.
 * @param {string} url
 * @param {object} hooks
 * @param {(snapshot: Snapshot) => void} hooks.onSnapshot Called for each new snapshot.
 * @param {(seconds: number) => void} hooks.onAway Called while the server is not responding.
 * @param {() => boolean} hooks.alive Polling ends when this is false.
 * @param {Record<string, string>} [hooks.headers] Sent with each request.
 * @param {(headers: Headers) => void} [hooks.onHeaders] Called for each response, new or not.
 * @returns {{ soon: () => void }} `soon` polls again shortly.
 */
export function follow(url, { onSnapshot, onAway, alive, headers = {}, onHeaders = () => {} }) {
  let etag = '';
  let boot = null;
  let heard = performance.now();
  /** @type {(value?: any) => void} */
  let wake = () => {};

  async function ask() {
    const response = await fetch(url, {
      headers: etag ? { ...headers, 'If-None-Match': etag, Prefer: 'wait=1' } : headers,
      cache: 'no-store',
      signal: AbortSignal.timeout(PATIENCE),
    });
    if (response.status !== 304 && !response.ok) throw new Error(`status ${response.status}`);
    heard = performance.now();
    const { headers: told } = response;
    if (response.status === 304) {
      onAway(0);
      return { told };
    }
    const snapshot = await response.json();
    if (boot && boot !== snapshot.boot) {
      location.reload();
      return {};
    } // another server process: its page may differ
    boot = snapshot.boot;
    etag = response.headers.get('ETag') ?? '';
    onAway(0);
    return { snapshot, told };
  }

  const visible = () => document.visibilityState === 'visible';
  document.addEventListener('visibilitychange', () => visible() && wake());
  (async () => {
    while (alive()) {
      let pause = PERIOD;
      if (visible()) {
        let answer = {};
        try {
          answer = await ask();
        } catch (error) {
          if (!(
            error instanceof TypeError ||
            error instanceof SyntaxError ||
            error.name === 'TimeoutError' ||
            error.message.startsWith('status')
          ))
            console.error(error);
          pause = RETRY;
          onAway((performance.now() - heard) / 1000);
        }
        try {
          // any error from here on is the page's, not the network's
          if (answer.snapshot) onSnapshot(answer.snapshot);
          // where the presenter is may be a moment of this snapshot's run
          if (answer.told) onHeaders(answer.told);
        } catch (error) {
          console.error(error);
        }
      } else pause = 60_000;
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, pause);
      });
    }
  })();
  return { soon: () => setTimeout(() => wake(), 120) };
}
