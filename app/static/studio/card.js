// The card beside the scatter plot: the selected image, its predictions, and the nearest real
// images.

import { href } from '../core/address.js';
import {
  h,
  num,
  pct,
  picture,
  setChildren,
  signed,
  term,
  crispSize,
  termSymbol,
} from '../core/dom.js';
import { scaleOf } from '../store/groups.js';
import { ACTIVE } from '../setup/sidebar.js';
import { generatorTerms, inUse, weightOf } from '../core/terms.js';

/** @import { Changes, PanelState, DisplayedImage } from '../core/types.js' */
/** @import { Archive } from '../store/groups.js' */

/** The selected image beside the scatter plot. */
export class Card {
  /**
   * @param {HTMLElement} view
   * @param {object} hooks
   * @param {Archive} hooks.archive
   * @param {(index: number) => string} hooks.nameOf Names a class of the teacher.
   * @param {(changes: Changes) => void} hooks.inspect Goes to the Inspect page.
   */
  constructor(view, { archive, nameOf, inspect }) {
    this.archive = archive;
    this.nameOf = nameOf;
    this.inspect = inspect;
    this.root = view.querySelector('.p-space .card');
    this.key = null;
  }

  /**
   * Draws the image.
   * @param {PanelState} state
   */
  draw({ snapshot: snap, selection: { image } }) {
    const sample = image?.sample;
    const reference = this.archive.reference();
    const key = image
      ? `${snap.run}|${image.it}:${image.pos}|${Boolean(sample)}|${Boolean(reference)}|${image.finished}|${image.replayed}|${image.crop.url.slice(-40)}`
      : `none ${snap.phase}`;
    if (key === this.key) return;
    this.key = key;
    const noRealImages = snap.tested_on === 'synthetic';
    if (!image) {
      setChildren(
        this.root,
        h(
          'p',
          { class: 'small muted' },
          noRealImages
            ? 'Every image as the teacher sees it. Similar images are close together.'
            : 'Hollow points are real images as the teacher sees them. Watch whether synthetic images land among them.',
        ),
      );
      return;
    }
    const { side } = scaleOf(snap, image.it);
    const renderPrediction = (network, top) =>
      top?.length
        ? h(
            'div',
            null,
            h('dt', null, network),
            h('dd', null, `${this.nameOf(top[0][0])}, ${pct(top[0][1])}`),
          )
        : null;
    setChildren(
      this.root,
      h(
        'div',
        { class: 'who' },
        h(
          'div',
          { class: 'thumb' },
          picture(image.crop, crispSize(side, 56), `Synthetic ${snap.classes[image.c]}`),
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
        renderPrediction('Teacher', sample?.teacher_top),
        renderPrediction('Student', sample?.student_top),
      ),
      sample?.parts && this.#losses(snap, sample.parts),
      sample?.nearest?.length && reference
        ? this.#nearest(snap, sample, reference)
        : h(
            'p',
            { class: 'small muted' },
            image.finished && !image.replayed
              ? noRealImages
                ? 'There are no real images to compare with.'
                : 'Finding the nearest real images…'
              : image.replayed || ACTIVE.includes(snap.phase)
                ? `In progress. ${noRealImages ? 'The teacher’s and student’s predictions appear' : 'Its position among the real images appears'} when this iteration ends.`
                : 'The run ended before this image was finished.',
          ),
    );
  }

  /**
   * Links to the image on the Inspect page and, during a replay, to the step being shown.
   */
  #link(snap, /** @type {DisplayedImage} */ { it, pos, step }) {
    const changes = { run: snap.run, sel: { it, pos }, step };
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

  /** Lists each unweighted loss term of this image and its weight in the sum. */
  #losses(snap, parts) {
    const shortNumber = (v) =>
      (Math.abs(v) < 10 ? signed(v, Math.abs(v) < 1 ? 2 : 1) : num(v)).replace(/^(−?)0\./, '$1.');
    return h(
      'dl',
      { class: 'terms', 'aria-label': 'Loss terms of this image' },
      inUse(snap, generatorTerms(snap))
        .filter(({ name }) => parts[name] != null)
        .map(({ name, symbol, title, tip }) =>
          h(
            'div',
            {
              tabindex: 0,
              'data-tip': `${title} for this image: ${signed(parts[name], 3)}, with weight ${weightOf(snap, name)}. ${tip}`,
            },
            h('dt', null, termSymbol({ name, symbol })),
            h(
              'dd',
              null,
              `${shortNumber(parts[name])} `,
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
      'The most similar real images according to the teacher, with their distance in its embedding. Shown for comparison only, never used for training.' +
      (reference.pixels === false
        ? ' Their pixels were left out of the file this run came from.'
        : '');
    return h(
      'div',
      null,
      h(
        'h3',
        null,
        term(
          reference.pixels === false ? 'Nearest real images (not included)' : 'Nearest real images',
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
