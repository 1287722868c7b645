// What all dialogs do, and one for what is chosen on the way: which runs, which switch. It lies
// outside all pages.

import { h, put } from './dom.js';

let dialog = null;

/** A press beside it closes it, and its keys are its own: the page's steer the run. Returns it. */
export function modal(node) {
  node.addEventListener('keydown', (event) => event.stopPropagation());
  node.addEventListener('click', (event) => {
    if (event.target === node) node.close();
  });
  return node;
}

/** Shows it with a title, buttons beside Cancel, and what else it holds. */
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

export const close = () => dialog?.close();
