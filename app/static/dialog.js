// One dialog for what is chosen on the way: which runs, which switch. It lies outside all pages.

import { h, put } from './dom.js';

let dialog = null;

/** Shows it with a title, buttons beside Cancel, and what else it holds. */
export function open(title, buttons, ...children) {
  if (!dialog) {
    dialog = h('dialog', { class: 'c-dialog', 'aria-labelledby': 'kg-c-title' });
    dialog.addEventListener('keydown', (event) => event.stopPropagation()); // the page's own keys steer the run
    document.getElementById('kg-shell').append(dialog);
  }
  put(dialog, h('header', null, h('h2', { id: 'kg-c-title' }, title), h('button', { type: 'button', class: 'btn small', onclick: close }, 'Cancel'), buttons), children);
  if (!dialog.open) dialog.showModal();
}

export const close = () => dialog?.close();
