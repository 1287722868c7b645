// Behavior shared by all dialogs, and one dialog for quick choices (runs, switches) that all pages
// share.

import { h, setChildren } from './dom.js';

/** @import { Child } from './types.js' */

let dialog = null;

/**
 * Closes a dialog on a click outside it, and keeps its keystrokes from reaching the page, where
 * they would control the run.
 * @param {HTMLDialogElement} dialog
 * @returns {HTMLDialogElement} The same dialog.
 */
export function modal(dialog) {
  dialog.addEventListener('keydown', (event) => event.stopPropagation());
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close();
  });
  return dialog;
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
  setChildren(
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
