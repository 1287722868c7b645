// The glossary's tooltips: one text of each term for every page. Made on the server from one file.

import { TERMS } from './glossary-terms.js';

/** The explanation of a term, by id; empty for one that there is none of. */
export const told = (id) => (Object.hasOwn(TERMS, id) ? TERMS[id].tip : '');
