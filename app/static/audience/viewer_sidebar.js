// The rail of the audience's page: what was chosen, to be read. It stands where the presenter has
// the form.

import { h, num, pct, put } from '../core/dom.js';
import { teacherCard } from '../setup/teacher_card.js';

const MOST = 12; // names of classes

export class Watching {
  constructor() {
    this.facts = document.querySelector('.chosen-facts');
  }

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

  // what the presenter's rail can do besides
  other() {
    return null;
  }
  sheet() {}
  toggle() {}
  step() {}
}
