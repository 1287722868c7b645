// Names, symbols and explanations (the glossary's) of the method's terms. The names of the losses
// are those of kgen/events.py.

import { told } from './glossary.js';

/** @import { Recipe, Term } from './types.js' */

/** The generator's loss, stacked from zero upwards in this order. */
export const GENERATOR = [
  { name: 'bn', title: 'BN statistics', tip: told('l-bn') },
  { name: 'kr', title: 'key region', tip: told('l-kr') },
  { name: 'ce', title: 'cross-entropy', tip: told('l-ce') },
  { name: 'aed', title: 'embedding push', tip: told('l-aed') },
  { name: 'tv', title: 'total variation', tip: told('l-tv') },
  { name: 'l2', title: 'pixel size', tip: told('l-l2') },
];
/** Minimized by growing: drawn below zero. */
export const REWARD = { name: 'adv', title: 'adversarial', tip: told('l-adv') };
export const STUDENT = [
  { name: 'kl', title: 'distillation', tip: told('l-s') },
  { name: 'ed', title: 'embedding pull', tip: told('l-ed') },
];
const UNWEIGHTED = ['kl'];

/**
 * Looks up the weight of a term in its loss, α; 1 for terms without one.
 * @param {{ recipe: Recipe }} snap
 * @param {string} name
 * @returns {number}
 */
export const weightOf = (snap, name) =>
  UNWEIGHTED.includes(name) ? 1 : (snap.recipe.weights?.[name] ?? 0);

/**
 * Selects the terms that take part in this run.
 * @param {{ recipe: Recipe }} snap
 * @param {Term[]} terms
 * @returns {Term[]}
 */
export const inUse = (snap, terms) => terms.filter(({ name }) => weightOf(snap, name) !== 0);

const MAPS = {
  cam: { short: 'CAM', title: 'CAM', tip: 'Class activation map (Eq. 5)' },
  linearised: {
    short: 'CAM',
    title: 'Linearised CAM',
    tip: "Class activation map of a teacher with more than one layer after its last map: the logit's slope takes the place of the weights",
  },
  attention: {
    short: 'attention',
    title: 'Attention of [CLS]',
    tip: "How much the last block's class token looks at each patch, where 1 is its even share",
  },
  none: { short: '', title: 'No map', tip: 'This teacher has no spatial map: key region is off' },
};

/**
 * Names the teacher's maps; `short` is empty if it has none.
 * @param {{ map: { kind: string } }} snap
 * @returns {{ short: string, title: string, tip: string }}
 */
export const mapNames = (snap) => MAPS[snap.map.kind] ?? MAPS.cam;
