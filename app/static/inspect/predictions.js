// What the networks say about an image on the Inspect page: teacher, student, and second opinion.

import { h, num, put, term } from '../core/dom.js';
import { told } from '../core/glossary.js';

/** @import { ImageAndNeighbors, ImageDetail, Overview, Shown } from '../core/types.js' */
/** @import { RunStore } from '../store/run_store.js' */

/** The predictions of the networks. */
export class Predictions {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
  }

  /**
   * Draws the predictions.
   * @param {Shown<RunStore, number | null, ImageAndNeighbors>} shown
   */
  draw({ snapshot: store, selection: { image } }) {
    const { over } = store;
    const warm = image.iteration < over.warmup;
    const own = { wanted: over.class_indices, nameOf: (index) => store.nameOf(index) };
    const judge = over.judge && {
      wanted: over.judge.indices,
      nameOf: (index) => store.judgedName(index),
    };
    const bars = (rows, { wanted, nameOf }) =>
      h(
        'ol',
        { class: 'top5' },
        rows.map(([index, p]) => {
          const slot = store.colours[wanted.indexOf(index)] ?? null;
          const name = nameOf(index);
          return h(
            'li',
            { class: index === wanted[image.c] ? 'want' : null },
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
    const part = (title, rows, words, of = own, note = '') =>
      h(
        'div',
        null,
        h('h3', null, title),
        words
          ? h('p', { class: 'small muted' }, words)
          : rows?.length
            ? [note && h('p', { class: 'small muted' }, note), bars(rows, of)]
            : h('p', { class: 'small muted' }, 'These predictions were not saved.'),
      );
    put(
      this.root,
      part('Teacher', image.teacher_top, ''),
      part(
        `Student, at iteration ${num(image.iteration + 1)}`,
        image.student_top,
        !over.student
          ? 'This run has no student, because only one class is selected.'
          : warm
            ? 'During warm-up only the pool grows; the student has not started training.'
            : '',
      ),
      judge &&
        part(
          term('Second opinion', told('second-opinion')),
          image.judge_top,
          '',
          judge,
          opinion(image, over),
        ),
    );
  }
}

/** The judge's opinion in a sentence. */
function opinion(/** @type {ImageDetail} */ image, /** @type {Overview} */ over) {
  const { title, classes } = over.judge;
  const name = over.classes[image.c];
  if (image.rank == null) return `${title} did not classify this image.`;
  return image.rank === 1
    ? `${title}, which took no part in the run, also classifies it as “${name}”.`
    : `${title}, which took no part in the run, ranks ${num(image.rank - 1)} of its ${num(classes)} classes above “${name}”.`;
}
