// Polls the snapshot with a conditional GET. The server responds as soon as there is something new,
// or with 304 after at most a second. While the page is hidden, nothing is requested.

/** @import { Snapshot } from './types.js' */

const PERIOD_MS = 400;
const TIMEOUT_MS = 5000;
const RETRY_MS = 1000;

/**
 * Polls the snapshot.
 * @param {string} url
 * @param {object} hooks
 * @param {(snapshot: Snapshot) => void} hooks.onSnapshot Called for each new snapshot.
 * @param {(seconds: number) => void} hooks.onOffline Called while the server is not responding.
 * @param {() => boolean} hooks.alive Polling ends when this is false.
 * @param {Record<string, string>} [hooks.headers] Sent with each request.
 * @param {(headers: Headers) => void} [hooks.onHeaders] Called for each response, new or not.
 * @returns {{ pollSoon: () => void }} `pollSoon` polls again shortly.
 */
export function follow(url, { onSnapshot, onOffline, alive, headers = {}, onHeaders = () => {} }) {
  let etag = '';
  let boot = null;
  let lastResponseAt = performance.now();
  /** @type {(value?: any) => void} */
  let wake = () => {};

  async function poll() {
    const response = await fetch(url, {
      headers: etag ? { ...headers, 'If-None-Match': etag, Prefer: 'wait=1' } : headers,
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (response.status !== 304 && !response.ok) throw new Error(`status ${response.status}`);
    lastResponseAt = performance.now();
    const { headers: responseHeaders } = response;
    if (response.status === 304) {
      onOffline(0);
      return { responseHeaders };
    }
    const snapshot = await response.json();
    if (boot && boot !== snapshot.boot) {
      location.reload();
      return {};
    } // another server process: its page may differ
    boot = snapshot.boot;
    etag = response.headers.get('ETag') ?? '';
    onOffline(0);
    return { snapshot, responseHeaders };
  }

  const visible = () => document.visibilityState === 'visible';
  document.addEventListener('visibilitychange', () => visible() && wake());
  (async () => {
    while (alive()) {
      let pause = PERIOD_MS;
      if (visible()) {
        let result = {};
        try {
          result = await poll();
        } catch (error) {
          if (!(
            error instanceof TypeError ||
            error instanceof SyntaxError ||
            error.name === 'TimeoutError' ||
            error.message.startsWith('status')
          ))
            console.error(error);
          pause = RETRY_MS;
          onOffline((performance.now() - lastResponseAt) / 1000);
        }
        try {
          // any error from here on is the page's, not the network's
          if (result.snapshot) onSnapshot(result.snapshot);
          // after the snapshot: the presenter may be at a moment of this snapshot's run
          if (result.responseHeaders) onHeaders(result.responseHeaders);
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
  return { pollSoon: () => setTimeout(() => wake(), 120) };
}
