// For tests: stands in for glossary-terms.js, which the server generates. Import this first, then
// import modules that need the glossary with `await import()`.

import { register } from 'node:module';

const TERMS = `export const TERMS = new Proxy({}, {
  get: (_, id) => ({ tip: 'tip of ' + String(id) }),
  getOwnPropertyDescriptor: () => ({ configurable: true, enumerable: true, value: 0 }),
});`;
const HOOKS = `export const resolve = (specifier, context, next) =>
  specifier.endsWith('/glossary-terms.js')
    ? { url: 'data:text/javascript,' + encodeURIComponent(${JSON.stringify(TERMS)}), shortCircuit: true }
    : next(specifier, context);`;

register(`data:text/javascript,${encodeURIComponent(HOOKS)}`);
