// The sidebar of the audience's page: what was chosen, to be read. It stands where the presenter
// has the form.

import { h, num, pct, put } from '../core/dom.js';
import { teacherCard } from '../setup/teacher_card.js';

/** @import { Snapshot } from '../core/types.js' */

const MOST = 12; // names of classes

/** The sidebar of the audience's page. It answers to the same calls as the presenter's. */
export class ViewerSidebar {
  /** Finds its list on the page. */
  constructor() {
    this.facts = document.querySelector('.chosen-facts');
  }

  /**
   * Lists what was chosen for the run.
   * @param {Snapshot} snap
   */
  draw(snap) {
    teacherCard(snap);
    const { recipe, budget, classes } = snap;
    const { weights } = recipe;
    const on = [
      weights.kr > 0 && 'key region',
      (weights.ed > 0 || weights.aed > 0) && 'embedding diversity',
      recipe.resolutions.length > 1 && 'several resolutions',
    ].filter(Boolean);
    const told = [
      ['Run', snap.title || 'none yet'],
      [
        'Classes',
        classes.length > MOST
          ? `${classes.slice(0, MOST).join(', ')} and ${num(classes.length - MOST)} more`
          : classes.join(', '),
      ],
      ['Resolution', recipe.resolutions.map((side) => `${side} × ${side}`).join(', ')],
      [
        'Budget',
        `${+(100 * budget.ratio).toFixed(4)} % of the pixels, ${num(budget.images)} images`,
      ],
      ['Method', on.join(', ') || 'plain generator'],
      ['Student', snap.student.name ?? '–'],
      ...(budget.images
        ? [['In the pool', `${num(budget.used_images)} images, ${pct(budget.used)} of the budget`]]
        : []),
    ];
    const text = JSON.stringify(told);
    if (text === this.text) return;
    this.text = text;
    put(
      this.facts,
      told.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
    );
  }

  // what else the presenter's sidebar can do
  /**
   * Names the teacher of the form if it is not the run's; an audience has no form.
   * @returns {string | null}
   */
  other() {
    return null;
  }

  /**
   * Opens or closes the phone's sheet; there is none here.
   */
  sheet() {}
  /** Pauses or continues the run; an audience cannot. */
  toggle() {}
  /** Takes one step; an audience cannot. */
  step() {}
}
