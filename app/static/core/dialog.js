// Behavior shared by all dialogs, and one shared dialog for quick choices: which runs, which
// switch. It is outside all pages.

import { h, put } from './dom.js';

/** @import { Child } from './types.js' */

let dialog = null;

/**
 * Makes a click outside a dialog close it, and keeps its keys from the page, where they would
 * control the run.
 * @param {HTMLDialogElement} node
 * @returns {HTMLDialogElement} The same dialog.
 */
export function modal(node) {
  node.addEventListener('keydown', (event) => event.stopPropagation());
  node.addEventListener('click', (event) => {
    if (event.target === node) node.close();
  });
  return node;
}

/**
 * Opens the shared dialog.
 * @param {string} title
 * @param {HTMLElement[]} buttons Buttons beside Cancel.
 * @param {...Child} children
 */
export function open(title, buttons, ...children) {
  if (!dialog) {
    dialog = modal(h('dialog', { class: 'c-dialog', 'aria-labelledby': 'kg-c-title' }));
    document.getElementById('kg-shell').append(dialog);
  }
  put(
    dialog,
    h(
      'header',
      null,
      h('h2', { id: 'kg-c-title' }, title),
      h(
        'button',
        { type: 'button', class: 'btn small', onclick: close },
        buttons.length ? 'Cancel' : 'Close',
      ),
      buttons,
    ),
    children,
  );
  if (!dialog.open) dialog.showModal();
}

/** Closes the shared dialog. */
export const close = () => dialog?.close();
