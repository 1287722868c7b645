// The glossary's tooltips: one text of each term for every page. Made on the server from one file.

// @ts-expect-error: the server generates this module
import { TERMS } from './glossary-terms.js';

/**
 * Looks up the explanation of a term.
 * @param {string} id
 * @returns {string} Empty if there is no such term.
 */
export const told = (id) => (Object.hasOwn(TERMS, id) ? TERMS[id].tip : '');
