import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decodeText } from './names_file.js';

const NAMES = 'Käse\r\n猫\n';
const bytes = (values) => new Uint8Array(values).buffer;
const utf16 = (text, swap) =>
  [...text].flatMap((c) => {
    const pair = [c.charCodeAt(0) & 255, c.charCodeAt(0) >> 8];
    return swap ? pair.reverse() : pair;
  });

test('UTF-8 and UTF-16, with and without a byte order mark', () => {
  const utf8 = [...new TextEncoder().encode(NAMES)];
  for (const file of [
    utf8,
    [0xef, 0xbb, 0xbf, ...utf8],
    [0xff, 0xfe, ...utf16(NAMES)],
    [0xfe, 0xff, ...utf16(NAMES, true)],
    utf16(NAMES),
    utf16(NAMES, true),
  ])
    assert.equal(decodeText(bytes(file)), NAMES);
});

test('other encodings are not guessed', () => {
  assert.equal(decodeText(bytes([0x4b, 0xe4, 0x73, 0x65])), null);
  assert.equal(decodeText(bytes([])), '');
});
