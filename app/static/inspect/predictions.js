// The predictions for an image on the Inspect page: teacher, student, and second opinion.

import { h, num, setChildren, term } from '../core/dom.js';
import { glossaryTip } from '../core/glossary.js';

/** @import { ImageAndNeighbors, ImageDetail, Overview, PanelState } from '../core/types.js' */
/** @import { RunStore } from '../store/run_store.js' */

/** The predictions of the networks. */
export class Predictions {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
  }

  /**
   * Draws the predictions.
   * @param {PanelState<RunStore, number | null, ImageAndNeighbors>} state
   */
  draw({ snapshot: store, selection: { image } }) {
    const { overview } = store;
    const inWarmup = image.iteration < overview.warmup;
    const teacherClasses = {
      indices: overview.class_indices,
      nameOf: (index) => store.nameOf(index),
    };
    const judge = overview.judge && {
      indices: overview.judge.indices,
      nameOf: (index) => store.judgeNameOf(index),
    };
    const renderBars = (rows, { indices, nameOf }) =>
      h(
        'ol',
        { class: 'top5' },
        rows.map(([index, p]) => {
          const slot = store.colorSlots[indices.indexOf(index)] ?? null;
          const name = nameOf(index);
          return h(
            'li',
            { class: index === indices[image.c] ? 'want' : null },
            h('span', { title: name }, name),
            h(
              'span',
              {
                class: 'track',
                style: { '--v': p, '--c': slot == null ? 'var(--muted)' : `var(--c${slot})` },
              },
              h('i'),
            ),
            h(
              'span',
              { class: 'num' },
              p >= 0.995 ? '100' : (100 * p).toFixed(p >= 0.0995 ? 0 : 1),
            ),
          );
        }),
      );
    const renderSection = (title, rows, message, classes = teacherClasses, note = '') =>
      h(
        'div',
        null,
        h('h3', null, title),
        message
          ? h('p', { class: 'small muted' }, message)
          : rows?.length
            ? [note && h('p', { class: 'small muted' }, note), renderBars(rows, classes)]
            : h('p', { class: 'small muted' }, 'These predictions were not saved.'),
      );
    setChildren(
      this.root,
      renderSection('Teacher', image.teacher_top, ''),
      renderSection(
        `Student, at iteration ${num(image.iteration + 1)}`,
        image.student_top,
        !overview.student
          ? 'This run has no student, because only one class is selected.'
          : inWarmup
            ? 'During warm-up, only the pool grows. The student has not started training.'
            : '',
      ),
      judge &&
        renderSection(
          term('Second opinion', glossaryTip('second-opinion')),
          image.judge_top,
          '',
          judge,
          describeOpinion(image, overview),
        ),
    );
  }
}

/** Describes the judge's opinion. */
function describeOpinion(/** @type {ImageDetail} */ image, /** @type {Overview} */ overview) {
  const { title, classes } = overview.judge;
  const name = overview.classes[image.c];
  if (image.rank == null) return `${title} did not classify this image.`;
  return image.rank === 1
    ? `${title}, which took no part in the run, also classifies it as “${name}”.`
    : `${title}, which took no part in the run, ranks ${num(image.rank - 1)} of its ${num(classes)} classes above “${name}”.`;
}
