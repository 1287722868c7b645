// Tooltips on hover and focus: for any element with data-tip, or data-term for a glossary term.
// Escape closes them.

import { told } from './glossary.js';

/**
 * Starts showing tooltips.
 * @param {HTMLElement} tip The element that shows them.
 * @returns {{ hide: () => void, open: (at: HTMLElement) => void }}
 */
export function tips(tip) {
  let owner = null;
  let pressed = '';
  const hide = () => {
    tip.hidden = true;
    owner?.removeAttribute('aria-describedby');
    owner = null;
  };
  const show = (event) => {
    const at = event.target.closest?.('[data-tip], [data-term]');
    if (!at || at === owner) return;
    // it appeared under a pointer that just clicked something else
    if (`${event.clientX} ${event.clientY}` === pressed) return;
    if (event.type === 'focusin' && !event.target.matches(':focus-visible')) return;
    open(at);
  };
  const open = (at) => {
    hide();
    owner = at;
    tip.textContent = at.dataset.tip ?? told(at.dataset.term);
    tip.hidden = false;
    at.setAttribute('aria-describedby', tip.id);
    const box = at.getBoundingClientRect();
    const { offsetWidth: w, offsetHeight: h } = tip;
    tip.style.left = `${Math.max(8, Math.min(innerWidth - w - 8, box.left))}px`;
    tip.style.top = `${box.bottom < 0.75 * innerHeight ? box.bottom + 6 : Math.max(8, box.top - h - 6)}px`;
  };
  document.addEventListener('pointerover', show);
  document.addEventListener('focusin', show);
  document.addEventListener(
    'pointerout',
    (e) => owner && !owner.contains(e.relatedTarget) && hide(),
  );
  document.addEventListener('focusout', hide);
  document.addEventListener('click', (e) => {
    const chip = /** @type {HTMLElement} */ (e.target).closest?.('.chip[data-tip]');
    if (chip) open(chip);
  }); // a chip has no action other than its tooltip
  document.addEventListener('pointerdown', (e) => {
    pressed = `${e.clientX} ${e.clientY}`;
    hide();
  });
  return { hide, open };
}
