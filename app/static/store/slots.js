// Assigns a palette color to each class.

/** Number of colors in the palette. */
export const SLOTS = 10;

/**
 * Assigns a palette slot to each class: its own (index modulo ten), or the next free one if there
 * are enough slots for all.
 * @param {number[]} indices The classes' indices in the teacher's output.
 * @returns {number[]} One slot per class.
 */
export function slots(indices) {
  const preferred = indices.map((i) => i % SLOTS);
  if (indices.length > SLOTS) return preferred;
  const taken = new Set();
  return preferred.map((slot) => {
    while (taken.has(slot)) slot = (slot + 1) % SLOTS;
    taken.add(slot);
    return slot;
  });
}
