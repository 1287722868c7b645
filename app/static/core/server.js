// Requests to the server. An error has one sentence for people and a code for the page
// (docs/errors.md).

/** The server did not respond; the status line says so too. */
export const UNREACHABLE = 'unreachable';

/** A request that was refused, or got no response. */
export class ServerError extends Error {
  /**
   * @param {string} message
   * @param {string} code
   */
  constructor(message, code) {
    super(message);
    this.name = 'ServerError';
    this.code = code;
  }
}

/**
 * Fetches a response. Throws a ServerError unless the server responds with success.
 * @param {string} url
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
export async function request(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch {
    throw new ServerError('The server is not responding.', UNREACHABLE);
  }
  if (response.ok) return response;
  throw new ServerError(
    (await response.text()).slice(0, 300) || `The server responded with status ${response.status}.`,
    response.headers.get('X-KGen-Code') ?? '',
  );
}

/**
 * Fetches JSON, as `request` does.
 * @param {string} url
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
export const requestJson = async (url, options) => (await request(url, options)).json();
