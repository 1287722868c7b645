// Reads a file of class names as text; the server finds the names in it.

/**
 * Text in UTF-8, or in UTF-16 as Excel and PowerShell write it; null for anything else.
 * @param {ArrayBuffer} buffer
 */
export function decodeText(buffer) {
  const [a, b] = new Uint8Array(buffer.slice(0, 2));
  const bigEndian = (a === 0xfe && b === 0xff) || a === 0;
  const wide = bigEndian || (a === 0xff && b === 0xfe) || b === 0;
  try {
    return new TextDecoder(bigEndian ? 'utf-16be' : wide ? 'utf-16le' : 'utf-8', {
      fatal: true,
    }).decode(buffer);
  } catch {
    return null;
  }
}
