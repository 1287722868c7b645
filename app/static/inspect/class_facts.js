// An overview of a class on the Inspect page: its mean image, and how the student classifies real
// images of it.

import { h, num, pct, setChildren, s } from '../core/dom.js';

/** @import { ImagesOfClass, PanelState } from '../core/types.js' */
/** @import { RunStore } from '../store/run_store.js' */

const CHART = { w: 240, h: 72 };

/** An overview of a class. */
export class ClassFacts {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
  }

  /**
   * Draws the class if it has changed.
   * @param {PanelState<RunStore, null, ImagesOfClass>} state
   */
  draw({ snapshot: store, selection: { samples, tests } }) {
    this.store = store;
    const key = `${store.attemptKey} ${samples.c} ${samples.n} ${tests?.rows?.length ?? tests?.error ?? '-'}`;
    if (key === this.key) return;
    this.key = key;
    setChildren(
      this.root,
      h(
        'header',
        null,
        h('h2', null, samples.means.size > 1 ? 'Mean images' : 'Mean image'),
        h('p', { class: 'note' }, `of ${num(samples.n)} images`),
      ),
      h(
        'div',
        { class: 'means' },
        [...samples.means.values()]
          .sort((a, b) => a.side - b.side)
          .map((mean) => this.#mean(mean, samples.means.size > 1)),
      ),
      ...this.#scores(tests),
    );
  }

  #mean({ side, small, channels, n, sum }, showSide) {
    const canvas = h('canvas', {
      width: small,
      height: small,
      role: 'img',
      'aria-label': `Mean of ${n} images at ${side} × ${side}`,
    });
    const ctx = canvas.getContext('2d');
    const out = ctx.createImageData(small, small);
    const area = small * small;
    for (let i = 0; i < area; i++)
      for (let ch = 0; ch < 4; ch++)
        out.data[4 * i + ch] =
          ch === 3 ? 255 : sum[(channels === 1 ? 0 : Math.min(ch, channels - 1)) * area + i] / n;
    ctx.putImageData(out, 0, 0);
    return h(
      'figure',
      null,
      canvas,
      h('figcaption', { class: 'small muted' }, showSide ? `${side} px, ${num(n)} images` : ''),
    );
  }

  #scores(tests) {
    const { overview } = this.store;
    const message = (text) => [
      h('h2', null, 'On real images'),
      h('p', { class: 'small muted' }, text),
    ];
    if (!overview.student) return message('This run has no student.');
    if (!overview.tests) return message('The student has not been tested yet.');
    if (!tests) return message('…');
    if (tests.error) return message(tests.error);
    const { rows, real, n } = tests;
    const [, student, teacher] = rows.at(-1);
    const title = h('h2', null, real ? 'On real images' : 'On synthetic images');
    const description = real
      ? 'of this class classified correctly in the last test'
      : 'of this class with the teacher’s prediction in the last test; there are no real images';
    if (student == null)
      return [
        title,
        h(
          'p',
          { class: 'small muted' },
          'This run’s tests have no per-class results, or no images of this class.',
        ),
      ];
    const mistakes = (subject, list) =>
      list.length
        ? h(
            'div',
            null,
            h('h3', null, `${subject} mistakes it for`),
            h(
              'ol',
              { class: 'top5' },
              list.map(([predicted, count]) =>
                h(
                  'li',
                  null,
                  h(
                    'span',
                    { title: overview.classes[predicted] },
                    overview.classes[predicted] ?? `class ${predicted}`,
                  ),
                  h(
                    'span',
                    {
                      class: 'track',
                      style: {
                        '--v': count / list[0][1],
                        '--c': `var(--c${this.store.colorSlots[predicted] ?? 0})`,
                      },
                    },
                    h('i'),
                  ),
                  h('span', { class: 'num' }, num(count)),
                ),
              ),
            ),
          )
        : null;
    const confusions = [
      mistakes('The student', tests.student),
      mistakes('The teacher', tests.teacher),
    ].filter(Boolean);
    return [
      title,
      h(
        'p',
        null,
        h('b', null, pct(student, 1)),
        h(
          'span',
          { class: 'muted' },
          ` student${teacher == null ? '' : `, ${pct(teacher, 1)} teacher`}`,
        ),
      ),
      h(
        'p',
        { class: 'small muted' },
        `${description} (${num(n)} images over all classes; overall ${pct(tests.all[0], 1)}).`,
      ),
      rows.length > 1 ? this.#history(rows) : null,
      ...confusions,
      confusions.length
        ? h('p', { class: 'small muted' }, 'Misclassified images in that test, by predicted class.')
        : h(
            'p',
            { class: 'small muted' },
            student === 1
              ? 'No images were misclassified.'
              : 'Misclassifications are not available: this run comes from an earlier version.',
          ),
    ].filter(Boolean);
  }

  /** The accuracy, test by test. */
  #history(rows) {
    const { w, h: height } = CHART;
    const known = rows.filter(([, share]) => share != null);
    const x = (i) => 4 + ((w - 8) * i) / Math.max(1, known.length - 1);
    const y = (v) => height - 4 - (height - 8) * v;
    const teacher = rows.findLast(([, , t]) => t != null)?.[2];
    return h(
      'figure',
      { class: 'course' },
      s(
        'svg',
        {
          viewBox: `0 0 ${w} ${height}`,
          role: 'img',
          'aria-label': `Student: from ${pct(known[0][1])} to ${pct(known.at(-1)[1])} over ${known.length} tests`,
        },
        [0, 1].map((v) => s('line', { class: 'grid', x1: 4, x2: w - 4, y1: y(v), y2: y(v) })),
        teacher == null
          ? null
          : s('line', { class: 'teacher-line', x1: 4, x2: w - 4, y1: y(teacher), y2: y(teacher) }),
        s('path', {
          class: 'student-line',
          d: known
            .map(([, v], i) => `${i ? 'L' : 'M'}${x(i).toFixed(1)} ${y(v).toFixed(1)}`)
            .join(''),
        }),
      ),
      h(
        'figcaption',
        { class: 'small muted' },
        `${num(known.length)} tests, from ${num(known[0][0])} to ${num(known.at(-1)[0])} images in the pool; scale 0 to 100%`,
      ),
    );
  }
}
