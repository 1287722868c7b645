// Names, symbols and explanations of the method's terms. The names of the losses are those of kgen/events.py.

/** The generator's loss, stacked from zero upwards in this order. */
export const GENERATOR = [
  { name: 'bn', title: 'BN statistics', tip: 'Layer statistics should be like those that the teacher remembers of its data.' },
  { name: 'kr', title: 'key region', tip: 'The evidence for the class should reach the target in the middle (Eq. 6).' },
  { name: 'ce', title: 'cross-entropy', tip: 'The teacher should be sure of the class.' },
  { name: 'aed', title: 'embedding push', tip: 'New images should lie at least r_o away from their class, in the student\'s embedding (Eq. 11).' },
  { name: 'tv', title: 'total variation', tip: 'Neighbouring pixels should be alike (DeepInversion).' },
  { name: 'l2', title: 'pixel size', tip: 'Pixels should stay moderate (DeepInversion).' },
];
/** Minimised by growing: drawn below zero. */
export const REWARD = { name: 'adv', title: 'adversarial', tip: 'A reward for images on which student and teacher disagree.' };
export const STUDENT = [
  { name: 'kl', title: 'distillation', tip: 'The student should answer as the teacher does (Eq. 2).' },
  { name: 'ed', title: 'embedding pull', tip: 'Stored images should lie within r_i of their class, in the student\'s embedding (Eq. 9).' },
];
const UNWEIGHTED = ['kl'];

/** Factor of a term in its loss, α; 1 for those that have none. */
export const weightOf = (snap, name) => UNWEIGHTED.includes(name) ? 1 : snap.recipe.weights?.[name] ?? 0;

/** The terms that take part in this run. */
export const inUse = (snap, terms) => terms.filter(({ name }) => weightOf(snap, name) !== 0);

const MAPS = {
  cam: { short: 'CAM', title: 'CAM', tip: 'Class activation map (Eq. 5)' },
  linearised: { short: 'CAM', title: 'Linearised CAM', tip: 'Class activation map of a teacher with more than one layer after its last map: the logit\'s slope takes the place of the weights' },
  attention: { short: 'attention', title: 'Attention of [CLS]', tip: 'How much the last block\'s class token looks at each patch, where 1 is its even share' },
  none: { short: '', title: 'No map', tip: 'This teacher has no spatial map: key region is off' },
};

/** What the teacher's maps are: {short, title, tip}; `short` is empty where it has none. */
export const mapNames = (snap) => MAPS[snap.map.kind] ?? MAPS.cam;
