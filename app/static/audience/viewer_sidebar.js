// The sidebar of the audience's page: a read-only summary of the run, in place of the presenter's
// form.

import { h, num, pct, setChildren } from '../core/dom.js';
import { teacherCard } from '../setup/teacher_card.js';

/** @import { PanelState } from '../core/types.js' */

const MAX_NAMES = 12; // class names

/** The sidebar of the audience's page. It has the same methods as the presenter's. */
export class ViewerSidebar {
  /** Finds its list on the page. */
  constructor() {
    this.facts = document.querySelector('.chosen-facts');
  }

  /**
   * Lists the settings of the run.
   * @param {PanelState} state With the live snapshot.
   */
  draw({ snapshot: snap }) {
    teacherCard(snap);
    const { recipe, budget, classes } = snap;
    const { weights } = recipe;
    const methods = [
      weights.kr > 0 && 'key region',
      (weights.ed > 0 || weights.aed > 0) && 'embedding diversity',
      recipe.resolutions.length > 1 && 'multi-resolution',
    ].filter(Boolean);
    const rows = [
      ['Run', snap.title || 'none yet'],
      [
        'Classes',
        classes.length > MAX_NAMES
          ? `${classes.slice(0, MAX_NAMES).join(', ')}, and ${num(classes.length - MAX_NAMES)} more`
          : classes.join(', '),
      ],
      ['Resolution', recipe.resolutions.map((side) => `${side} × ${side}`).join(', ')],
      [
        'Budget',
        `${+(100 * budget.ratio).toFixed(4)}% of the pixels, ${num(budget.images)} images`,
      ],
      ['Method', methods.join(', ') || 'plain generator'],
      ['Student', snap.student.name ?? '–'],
      ...(budget.images
        ? [['In the pool', `${num(budget.used_images)} images, ${pct(budget.used)} of the budget`]]
        : []),
    ];
    const text = JSON.stringify(rows);
    if (text === this.rowsKey) return;
    this.rowsKey = text;
    setChildren(
      this.facts,
      rows.map(([name, value]) => h('div', null, h('dt', null, name), h('dd', null, value))),
    );
  }

  // the other methods of the presenter's sidebar
  /**
   * Returns null: viewers have no form that could name another teacher.
   * @returns {string | null}
   */
  otherTeacher() {
    return null;
  }

  /**
   * Does nothing: the viewers' sidebar has no sheet on phones.
   */
  setSheetOpen() {}
  /** Pauses or continues the run; viewers cannot. */
  toggle() {}
  /** Takes one step; viewers cannot. */
  step() {}
}
