// For tests: stands in for glossary-terms.js, which the server generates. Import this first, then
// import modules that need the glossary with `await import()`.

import { register } from 'node:module';

const LOSSES = [
  ['ce', 'cross-entropy', 'generator'],
  ['adv', 'adversarial', 'generator'],
  ['bn', 'BN statistics', 'generator'],
  ['kr', 'key region', 'generator'],
  ['aed', 'embedding push', 'generator'],
  ['tv', 'total variation', 'generator'],
  ['l2', 'pixel size', 'generator'],
  ['kl', 'distillation', 'student'],
  ['ed', 'embedding pull', 'student'],
].map(([name, title, loss]) => ({
  name,
  title,
  loss,
  tip: `tip of l-${name === 'kl' ? 's' : name}`,
  color: `light-dark(#${name}, #${name})`,
  reward: name === 'adv',
  per_batch: name === 'bn',
  weighted: name !== 'kl',
  needs: ['adv', 'aed'].includes(name) ? ['student'] : [],
}));
const TERMS = `export const LOSS_TERMS = ${JSON.stringify(LOSSES)};
export const TERMS = new Proxy({}, {
  get: (_, id) => ({ tip: 'tip of ' + String(id) }),
  getOwnPropertyDescriptor: () => ({ configurable: true, enumerable: true, value: 0 }),
});`;
const HOOKS = `export const resolve = (specifier, context, next) =>
  specifier.endsWith('/glossary-terms.js')
    ? { url: 'data:text/javascript,' + encodeURIComponent(${JSON.stringify(TERMS)}), shortCircuit: true }
    : next(specifier, context);`;

register(`data:text/javascript,${encodeURIComponent(HOOKS)}`);
