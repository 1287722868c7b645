// Beside the scatter: the chosen image, what teacher and student call it, and the real images
// nearest to it.

import { href, selection } from '../core/address.js';
import { h, math, num, pct, picture, put, signed, term, whole } from '../core/dom.js';
import { scaleOf } from '../store/groups.js';
import { ACTIVE } from '../setup/sidebar.js';
import { generatorTerms, inUse, weightOf } from '../core/terms.js';

/** @import { Changes, Reference, Sample, ShownImage, Snapshot } from '../core/types.js' */

/** The chosen image beside the scatter. */
export class Card {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {(index: number) => string} hooks.nameOf Names a class of the teacher.
   * @param {(changes: Changes) => void} hooks.inspect Turns to the Inspect page.
   */
  constructor(view, { nameOf, inspect }) {
    this.nameOf = nameOf;
    this.inspect = inspect;
    this.root = view.querySelector('.p-space .card');
    this.key = null;
  }

  /**
   * Draws the image.
   * @param {Snapshot} snap
   * @param {ShownImage | null} image
   * @param {Sample | null | undefined} sample Null until it arrives.
   * @param {Reference | null} reference
   */
  draw(snap, image, sample, reference) {
    const key = image
      ? `${snap.run}|${image.it}:${image.pos}|${Boolean(sample)}|${Boolean(reference)}|${image.finished}|${image.replay}|${image.piece.url.slice(-40)}`
      : `none ${snap.phase}`;
    if (key === this.key) return;
    this.key = key;
    const alone = snap.tested_on === 'synthetic';
    if (!image) {
      put(
        this.root,
        h(
          'p',
          { class: 'small muted' },
          alone
            ? 'Every image as the teacher sees it: alike ones lie together.'
            : 'Hollow points are real images as the teacher sees them. Synthetic ones will land among them, or not: watch.',
        ),
      );
      return;
    }
    const { side } = scaleOf(snap, image.it);
    const says = (who, top) =>
      top?.length
        ? h(
            'div',
            null,
            h('dt', null, who),
            h('dd', null, `${this.nameOf(top[0][0])}, ${pct(top[0][1])}`),
          )
        : null;
    put(
      this.root,
      h(
        'div',
        { class: 'who' },
        h(
          'div',
          { class: 'thumb' },
          picture(image.piece, whole(side, 56), `Synthetic ${snap.classes[image.c]}`),
        ),
        h(
          'div',
          null,
          h('b', null, snap.classes[image.c]),
          h('br'),
          h('span', { class: 'muted' }, `iteration ${num(image.it + 1)}`),
          h('br'),
          h('span', { class: 'muted' }, `${side} × ${side}${image.finished ? ' · ' : ''}`),
          image.finished ? this.#link(snap, image) : null,
        ),
      ),
      h(
        'dl',
        { class: 'says' },
        says('Teacher', sample?.teacher_top),
        says('Student', sample?.student_top),
      ),
      sample?.parts && this.#losses(snap, sample.parts),
      sample?.nearest?.length && reference
        ? this.#nearest(snap, sample, reference)
        : h(
            'p',
            { class: 'small muted' },
            image.finished && !image.replay
              ? alone
                ? 'There are no real images to compare it with.'
                : 'Looking for the nearest real images …'
              : image.replay || ACTIVE.includes(snap.phase)
                ? `Being made. ${alone ? 'What the teacher and the student call it' : 'Its place among the real images'} is known when this iteration ends.`
                : 'The run ended before this image was finished.',
          ),
    );
  }

  /**
   * To everything that is known of it, on a page of its own; from a replay to the step that is
   * shown.
   */
  #link(snap, /** @type {ShownImage} */ { it, pos, step }) {
    const changes = {
      run: snap.run,
      sel: selection({ it, pos }),
      step: step == null ? null : step + 1,
    };
    return h(
      'a',
      {
        class: 'link',
        href: href({ tab: 'inspect', ...changes }),
        onclick: (e) => {
          if (!(e.ctrlKey || e.metaKey || e.shiftKey)) {
            e.preventDefault();
            this.inspect(changes);
          }
        },
      },
      'Inspect',
    );
  }

  /** Each term of this image's loss, unweighted, and the factor that it enters the sum with. */
  #losses(snap, parts) {
    const short = (v) =>
      (Math.abs(v) < 10 ? signed(v, Math.abs(v) < 1 ? 2 : 1) : num(v)).replace(/^(−?)0\./, '$1.');
    return h(
      'dl',
      { class: 'terms', 'aria-label': 'Terms of its loss' },
      inUse(snap, generatorTerms(snap))
        .filter(({ name }) => parts[name] != null)
        .map(({ name, title, tip }) =>
          h(
            'div',
            {
              tabindex: 0,
              'data-tip': `${title} of this image: ${signed(parts[name], 3)}, times its factor ${weightOf(snap, name)}. ${tip}`,
            },
            h('dt', null, math('L', name)),
            h(
              'dd',
              null,
              `${short(parts[name])} `,
              h(
                'span',
                { class: 'muted' },
                `× ${String(weightOf(snap, name)).replace(/^0\./, '.')}`,
              ),
            ),
          ),
        ),
    );
  }

  #nearest(snap, sample, reference) {
    const note =
      'Real images that the teacher finds most alike, with the distance in its embedding. They are shown for comparison and never enter the training.' +
      (reference.pixels === false
        ? ' Their pixels were left out of the file that this run came in.'
        : '');
    return h(
      'div',
      null,
      h(
        'h3',
        null,
        term(
          reference.pixels === false ? 'Nearest real images (not sent)' : 'Nearest real images',
          note,
        ),
      ),
      h(
        'ul',
        { class: 'thumbs' },
        sample.nearest.slice(0, 3).map(({ i, c, d }) =>
          h(
            'li',
            null,
            picture(
              {
                url: reference.sheet,
                col: i % reference.columns,
                row: Math.floor(i / reference.columns),
                columns: reference.columns,
                rows: reference.rows,
              },
              56,
              `Real ${snap.classes[c] ?? ''}`,
            ),
            h('span', null, snap.classes[c] ?? ''),
            h('span', { class: 'muted num' }, d.toFixed(2)),
          ),
        ),
      ),
    );
  }
}
