// How an image on the Inspect page was made, and similar images.

import { dot, h, num, pct, picture, setChildren, setAttr, crispSize } from '../core/dom.js';

/** @import { Changes, ImageAndNeighbors, Neighbors, Props, PanelState } from '../core/types.js' */
/** @import { RunStore } from '../store/run_store.js' */

const THUMB_SIZE = 56;

/**
 * Formats how sure the teacher is.
 * @param {number | null} p
 * @returns {string} Empty if unknown.
 */
export const confidence = (p) => (p == null ? '' : p > 0 && p < 0.005 ? '< 1%' : pct(p));

/** How an image was made, and images similar to it. */
export class Relatives {
  /**
   * @param {HTMLElement} root
   * @param {object} hooks
   * @param {(step: number | null) => void} hooks.onStep Shows the frame at that step; null is the
   *   finished image.
   * @param {(changes: Changes) => Props} hooks.link Makes the attributes of a link on this page.
   */
  constructor(root, { onStep, link }) {
    this.root = root;
    this.onStep = onStep;
    this.link = link;
  }

  /**
   * Marks the frame being shown.
   * @param {number} frame -1 for the finished image.
   */
  markFrame(frame) {
    /** @type {NodeListOf<HTMLElement>} */
    const film = this.root.querySelectorAll('.film button');
    for (const button of film)
      setAttr(button, 'aria-pressed', String(+button.dataset.frame === frame));
  }

  /**
   * Draws the steps and the images.
   * @param {PanelState<RunStore, number | null, ImageAndNeighbors>} state
   */
  draw({ snapshot: store, moment, selection: { image, neighbors } }) {
    const { link } = this;
    const { overview } = store;
    const { frames } = image;
    const pressed = moment == null ? -1 : frames.findIndex(({ step }) => step === moment);
    const renderThumb = (url, side, label) =>
      picture({ url }, side > 64 ? THUMB_SIZE : crispSize(side, THUMB_SIZE), label);
    const keptStep = image.kept_step;
    const film = frames.length
      ? h(
          'ol',
          { class: 'film' },
          /** @type {[number, string, string, number | null, number | null][]} */ ([
            ...frames.map(({ step, p, image: url }, i) => [
              i,
              url,
              `step ${num(step + 1)}`,
              p,
              step,
            ]),
            [
              -1,
              image.image,
              keptStep == null ? 'kept' : `step ${num(keptStep + 1)}, kept`,
              image.p,
              null,
            ],
          ]).map(([i, url, label, p, step]) =>
            h(
              'li',
              null,
              h(
                'button',
                {
                  type: 'button',
                  'data-frame': i,
                  'aria-pressed': String(i === pressed),
                  'aria-label': `${label}${p == null ? '' : `, teacher ${confidence(p)} sure`}`,
                  onclick: () => this.onStep(step),
                },
                renderThumb(url, image.side),
              ),
              h('div', { class: 'bar' }, h('i', { style: { width: `${100 * (p ?? 0)}%` } })),
              h('span', { class: 'muted' }, i < 0 ? 'kept' : label.replace('step ', '')),
              h('span', { class: 'num' }, p == null ? '' : confidence(p)),
            ),
          ),
        )
      : h(
          'p',
          { class: 'small muted' },
          image.frames_kept
            ? 'Intermediate steps are saved for a few images per class, and this is not one of them.'
            : overview.recipe.journal_pixels
              ? 'Intermediate steps of this batch were not saved because the run had used up its limit (journal_pixels).'
              : 'This run does not save intermediate steps (journal_pixels is 0).',
        );
    const missingNote =
      frames.length && frames.every(({ p }) => p == null)
        ? h(
            'p',
            { class: 'small muted' },
            'Teacher confidence per step is not available: this run comes from an earlier version.',
          )
        : null;
    const nearest = image.nearest;
    const neighborImages = neighbors?.found;
    setChildren(
      this.root,
      h('div', null, film, missingNote),
      h(
        'div',
        null,
        h(
          'h3',
          null,
          'Nearest real images ',
          h(
            'span',
            { class: 'muted' },
            nearest ? `among ${num(nearest.of)}, by distance in the teacher’s embedding` : '',
          ),
        ),
        nearest
          ? h(
              'ul',
              { class: 'near' },
              nearest.found.map(({ c, d, image: url }) =>
                h(
                  'li',
                  null,
                  url
                    ? renderThumb(url, 28, `Real ${overview.classes[c] ?? ''}`)
                    : h('span', { class: 'gone' }),
                  renderCaption(store, c, d),
                ),
              ),
            )
          : null,
        nearest
          ? nearest.pixels
            ? null
            : h(
                'p',
                { class: 'small muted' },
                'Their pixels were left out of the file this run came from.',
              )
          : h(
              'p',
              { class: 'small muted' },
              overview.tested_on === 'synthetic'
                ? 'There are no real images to compare with.'
                : 'This run has no real images to compare with.',
            ),
      ),
      h(
        'div',
        null,
        h(
          'h3',
          null,
          'Nearest synthetic images of other classes ',
          h('span', { class: 'muted' }, neighbors?.compared ? describeScope(neighbors) : ''),
        ),
        neighborImages?.length
          ? h(
              'ul',
              { class: 'near' },
              neighborImages.map(({ it, pos, c, d, image: url }) =>
                h(
                  'li',
                  null,
                  h(
                    'a',
                    {
                      ...link({ sel: { it, pos }, class: null, step: null }),
                      'aria-label': `${overview.classes[c]}, iteration ${it + 1}, distance ${d.toFixed(2)}`,
                    },
                    renderThumb(url, 28),
                  ),
                  renderCaption(store, c, d),
                ),
              ),
            )
          : h(
              'p',
              { class: 'small muted' },
              neighbors == null
                ? 'Searching…'
                : (neighbors.error ??
                    (overview.classes.length < 2 ? 'This run has only one class.' : 'None found.')),
            ),
      ),
    );
  }
}

function renderCaption(/** @type {RunStore} */ store, c, d) {
  return h(
    'span',
    { class: 'num', title: store.overview.classes[c] ?? '' },
    dot(store.colorSlots[c] ?? 0),
    d < 99.5 ? d.toFixed(2) : num(d),
  );
}

function describeScope(/** @type {Neighbors} */ { compared, looked, of }) {
  return looked < of
    ? `among a sample of ${num(compared)} from ${num(looked)} of ${num(of)} iterations`
    : `among ${num(compared)} from all ${num(of)} iterations so far`;
}
