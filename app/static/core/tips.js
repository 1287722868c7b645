// Tooltips, shown on hover and focus for any element with data-tip, or with data-term for a
// glossary term. Escape closes them.

import { glossaryTip } from './glossary.js';

/**
 * Starts showing tooltips.
 * @param {HTMLElement} tip The element that shows them.
 * @returns {{ hide: () => void, open: (target: HTMLElement) => void }}
 */
export function tips(tip) {
  let described = null;
  let pressedAt = '';
  const hide = () => {
    tip.hidden = true;
    described?.removeAttribute('aria-describedby');
    described = null;
  };
  const show = (event) => {
    const target = event.target.closest?.('[data-tip], [data-term]');
    if (!target || target === described) return;
    // it appeared under a pointer that just clicked something else
    if (`${event.clientX} ${event.clientY}` === pressedAt) return;
    if (event.type === 'focusin' && !event.target.matches(':focus-visible')) return;
    open(target);
  };
  const open = (target) => {
    hide();
    described = target;
    tip.textContent = target.dataset.tip ?? glossaryTip(target.dataset.term);
    tip.hidden = false;
    target.setAttribute('aria-describedby', tip.id);
    const box = target.getBoundingClientRect();
    const { offsetWidth: w, offsetHeight: h } = tip;
    tip.style.left = `${Math.max(8, Math.min(innerWidth - w - 8, box.left))}px`;
    tip.style.top = `${box.bottom < 0.75 * innerHeight ? box.bottom + 6 : Math.max(8, box.top - h - 6)}px`;
  };
  document.addEventListener('pointerover', show);
  document.addEventListener('focusin', show);
  document.addEventListener(
    'pointerout',
    (e) => described && !described.contains(e.relatedTarget) && hide(),
  );
  document.addEventListener('focusout', hide);
  document.addEventListener('click', (e) => {
    const chip = /** @type {HTMLElement} */ (e.target).closest?.('.chip[data-tip]');
    if (chip) open(chip);
  }); // a chip has no action other than its tooltip
  document.addEventListener('pointerdown', (e) => {
    pressedAt = `${e.clientX} ${e.clientY}`;
    hide();
  });
  return { hide, open };
}
