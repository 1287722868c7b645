import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';

import { UNREACHABLE, request, requestJson } from './server.js';

const original = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = original;
});
/** @param {() => Promise<Response>} respond */
const answering = (respond) => {
  globalThis.fetch = /** @type {any} */ (respond);
};

test('a refusal has the sentence and the code of the server', async () => {
  answering(
    async () =>
      new Response('Another run is in progress.', {
        status: 409,
        headers: { 'X-KGen-Code': 'busy' },
      }),
  );
  await assert.rejects(request('/kg/x'), {
    name: 'ServerError',
    message: 'Another run is in progress.',
    code: 'busy',
  });
});

test('an empty refusal names its status', async () => {
  answering(async () => new Response('', { status: 502 }));
  await assert.rejects(request('/kg/x'), { message: /502/, code: '' });
});

test('a missing response and a rejection have different codes', async () => {
  answering(async () => {
    throw new TypeError('Failed to fetch');
  });
  await assert.rejects(requestJson('/kg/x'), { code: UNREACHABLE });
});

test('a response is returned as JSON', async () => {
  answering(async () => new Response('{"run": "tiny-1"}'));
  assert.deepEqual(await requestJson('/kg/x'), { run: 'tiny-1' });
});
