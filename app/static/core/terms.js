// The loss terms: name, explanation and color of each. The server generates the table from
// kgen/terms.py and the glossary; a run may add its own terms.

// @ts-expect-error: the server generates this module
import { LOSS_TERMS } from './glossary-terms.js';

/** @import { OwnTerms, Recipe, Term } from './types.js' */

/** Stacking order of the generator's loss, from zero upward; terms not listed here go on top. */
const STACK = ['bn', 'kr', 'ce', 'aed', 'tv', 'l2'];
const level = ({ name }) => (STACK.includes(name) ? STACK.indexOf(name) : STACK.length);
const generator = LOSS_TERMS.filter((term) => term.loss === 'generator');

/** The generator's loss, stacked from zero upward in this order. @type {Term[]} */
export const GENERATOR = generator
  .filter((term) => !term.reward)
  .sort((a, b) => level(a) - level(b));
/** Subtracted from the loss, so drawn below zero. @type {Term} */
export const REWARD = generator.find((term) => term.reward);
/** @type {Term[]} */
export const STUDENT = LOSS_TERMS.filter((term) => term.loss === 'student');

/** Of a run's own term, if the run does not say. */
const OWN = 'light-dark(#3f9a3f, #7cc47c)';
const PLAIN = '(?:#[0-9a-f]{3,8}|[a-z]+|(?:rgb|hsl|hwb|lab|lch|oklab|oklch)a?\\([-0-9.%,/ ]+\\))';
/** Nothing but colors: a run may come from elsewhere, and CSS could fetch something. */
const COLOR = new RegExp(`^(?:${PLAIN}|light-dark\\( *${PLAIN} *, *${PLAIN} *\\))$`, 'i');

/**
 * Lists the terms that a run's generator can have: those of the method and the run's own.
 * @param {OwnTerms} run
 * @returns {Term[]}
 */
export const generatorTerms = (run) => [
  ...GENERATOR,
  ...(run.own_terms ?? []).map((term) => ({
    ...term,
    tip: term.tip || 'A custom loss term of this run.',
    color: COLOR.test(term.color ?? '') ? term.color : OWN,
  })),
  REWARD,
];

const UNWEIGHTED = ['kl'];

/**
 * Looks up the weight of a term in its loss, α; 1 for terms without one.
 * @param {{ recipe: Recipe } & OwnTerms} snap
 * @param {string} name
 * @returns {number}
 */
export const weightOf = (snap, name) =>
  UNWEIGHTED.includes(name)
    ? 1
    : (snap.recipe.weights?.[name] ??
      snap.own_terms?.find((term) => term.name === name)?.weight ??
      0);

/**
 * Selects the terms that take part in this run.
 * @param {{ recipe: Recipe } & OwnTerms} snap
 * @param {Term[]} terms
 * @returns {Term[]}
 */
export const inUse = (snap, terms) => terms.filter(({ name }) => weightOf(snap, name) !== 0);

const MAPS = {
  cam: { short: 'CAM', title: 'CAM', tip: 'Class activation map (Eq. 5)' },
  linearised: {
    short: 'CAM',
    title: 'Linearized CAM',
    tip: 'Class activation map for a teacher with several layers after its last map: the gradient of the logit replaces the weights',
  },
  attention: {
    short: 'attention',
    title: '[CLS] attention',
    tip: 'How much the class token of the last block attends to each patch; 1 is the uniform share',
  },
  none: {
    short: '',
    title: 'No map',
    tip: 'This teacher has no spatial map, so key region is off',
  },
};

/**
 * Names the teacher's maps; `short` is empty if it has none.
 * @param {{ map: { kind: string } }} snap
 * @returns {{ short: string, title: string, tip: string }}
 */
export const mapNames = (snap) => MAPS[snap.map.kind] ?? MAPS.cam;
