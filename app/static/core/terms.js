// The loss terms: name, explanation and color of each. The server generates the table from
// kgen/terms.py and the glossary; a run may add its own terms.

// @ts-expect-error: the server generates this module
import { LOSS_TERMS } from './glossary-terms.js';

/** @import { WithCustomTerms, Recipe, Term } from './types.js' */

const generatorLoss = LOSS_TERMS.filter((term) => term.loss === 'generator');

/**
 * The generator's loss terms, stacked from zero upward in this order: those with one value per
 * batch first.
 * @type {Term[]}
 */
export const GENERATOR = generatorLoss
  .filter((term) => !term.reward)
  .sort((a, b) => Number(b.per_batch) - Number(a.per_batch));
/** Subtracted from the loss, so drawn below zero. @type {Term} */
export const REWARD = generatorLoss.find((term) => term.reward);
/** @type {Term[]} */
export const STUDENT = LOSS_TERMS.filter((term) => term.loss === 'student');

/** The color of a custom term that does not specify one. */
const DEFAULT_CUSTOM_COLOR = 'light-dark(#3f9a3f, #7cc47c)';
const SIMPLE_COLOR =
  '(?:#[0-9a-f]{3,8}|[a-z]+|(?:rgb|hsl|hwb|lab|lch|oklab|oklch)a?\\([-0-9.%,/ ]+\\))';
/** Accepts only colors: runs can come from elsewhere, and other CSS values could fetch URLs. */
const COLOR = new RegExp(
  `^(?:${SIMPLE_COLOR}|light-dark\\( *${SIMPLE_COLOR} *, *${SIMPLE_COLOR} *\\))$`,
  'i',
);

/**
 * Lists the terms that a run's generator can have: those of the method, and the run's custom terms.
 * @param {WithCustomTerms} run
 * @returns {Term[]}
 */
export const generatorTerms = (run) => [
  ...GENERATOR,
  ...(run.own_terms ?? []).map((term) => ({
    ...term,
    tip: term.tip || 'A custom loss term of this run.',
    color: COLOR.test(term.color ?? '') ? term.color : DEFAULT_CUSTOM_COLOR,
  })),
  REWARD,
];

const UNWEIGHTED = new Set(LOSS_TERMS.filter(({ weighted }) => !weighted).map(({ name }) => name));

/**
 * Looks up the weight of a term in its loss, α; 1 for terms without one.
 * @param {{ recipe: Recipe } & WithCustomTerms} snap
 * @param {string} name
 * @returns {number}
 */
export const weightOf = (snap, name) =>
  UNWEIGHTED.has(name)
    ? 1
    : (snap.recipe.weights?.[name] ??
      snap.own_terms?.find((term) => term.name === name)?.weight ??
      0);

/**
 * Selects the terms that have a weight in this run.
 * @param {{ recipe: Recipe } & WithCustomTerms} snap
 * @param {Term[]} terms
 * @returns {Term[]}
 */
export const inUse = (snap, terms) => terms.filter(({ name }) => weightOf(snap, name) !== 0);

const MAPS = {
  cam: { short: 'CAM', title: 'CAM', tip: 'Class activation map (Eq. 5)' },
  linearised: {
    short: 'CAM',
    title: 'Linearized CAM',
    tip: 'Class activation map for a teacher with several layers after its last feature map. The gradient of the logit replaces the weights',
  },
  attention: {
    short: 'attention',
    title: '[CLS] attention',
    tip: 'How much the class token of the last block attends to each patch. A value of 1 corresponds to uniform attention',
  },
  none: {
    short: '',
    title: 'No map',
    tip: 'This teacher has no spatial map, so the key region is off',
  },
};

/**
 * Names the teacher's maps; `short` is empty if it has none.
 * @param {{ map: { kind: string } }} snap
 * @returns {{ short: string, title: string, tip: string }}
 */
export const mapNames = (snap) => MAPS[snap.map.kind] ?? MAPS.cam;
