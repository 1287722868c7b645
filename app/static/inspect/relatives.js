// Beside an image on the Inspect page: how it was made, and similar images.

import { dot, h, num, pct, picture, put, setAttr, whole } from '../core/dom.js';

/** @import { Changes, ImageAndNeighbors, Neighbors, Props, Shown } from '../core/types.js' */
/** @import { RunStore } from '../store/run_store.js' */

const SMALL = 56;

/**
 * Says how sure the teacher is.
 * @param {number | null} p
 * @returns {string} Empty if unknown.
 */
export const sure = (p) => (p == null ? '' : p > 0 && p < 0.005 ? '< 1%' : pct(p));

/** How an image was made, and images similar to it. */
export class Relatives {
  /**
   * @param {HTMLElement} root
   * @param {object} hooks
   * @param {(step: number | null) => void} hooks.step Shows the frame at that step; null is the
   *   finished image.
   * @param {(changes: Changes) => Props} hooks.link Makes the attributes of a link on this page.
   */
  constructor(root, { step, link }) {
    this.root = root;
    this.step = step;
    this.link = link;
  }

  /**
   * Marks the frame being shown.
   * @param {number} frame -1 for the finished image.
   */
  mark(frame) {
    /** @type {NodeListOf<HTMLElement>} */
    const film = this.root.querySelectorAll('.film button');
    for (const button of film)
      setAttr(button, 'aria-pressed', String(+button.dataset.frame === frame));
  }

  /**
   * Draws the steps and the images.
   * @param {Shown<RunStore, number | null, ImageAndNeighbors>} shown
   */
  draw({ snapshot: store, moment, selection: { image, neighbors } }) {
    const { link } = this;
    const { over } = store;
    const { frames } = image;
    const pressed = moment == null ? -1 : frames.findIndex(({ step }) => step === moment);
    const thumb = (url, side, label) =>
      picture({ url }, side > 64 ? SMALL : whole(side, SMALL), label);
    const at = image.kept_step;
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
            [-1, image.image, at == null ? 'kept' : `step ${num(at + 1)}, kept`, image.p, null],
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
                  'aria-label': `${label}${p == null ? '' : `, teacher ${sure(p)} sure`}`,
                  onclick: () => this.step(step),
                },
                thumb(url, image.side),
              ),
              h('div', { class: 'bar' }, h('i', { style: { width: `${100 * (p ?? 0)}%` } })),
              h('span', { class: 'muted' }, i < 0 ? 'kept' : label.replace('step ', '')),
              h('span', { class: 'num' }, p == null ? '' : sure(p)),
            ),
          ),
        )
      : h(
          'p',
          { class: 'small muted' },
          image.frames_kept
            ? 'Intermediate steps are saved for a few images per class, and this is not one of them.'
            : over.recipe.journal_pixels
              ? 'Intermediate steps of this batch were not saved: the run had used up its limit (journal_pixels).'
              : 'This run does not save intermediate steps (journal_pixels is 0).',
        );
    const without =
      frames.length && frames.every(({ p }) => p == null)
        ? h(
            'p',
            { class: 'small muted' },
            'Teacher confidence per step is not available: this run comes from an earlier version.',
          )
        : null;
    const real = image.nearest;
    const others = neighbors?.found;
    put(
      this.root,
      h('div', null, film, without),
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
            real ? `among ${num(real.of)}, by distance in the teacher’s embedding` : '',
          ),
        ),
        real
          ? h(
              'ul',
              { class: 'near' },
              real.found.map(({ c, d, image: url }) =>
                h(
                  'li',
                  null,
                  url
                    ? thumb(url, 28, `Real ${over.classes[c] ?? ''}`)
                    : h('span', { class: 'gone' }),
                  under(store, c, d),
                ),
              ),
            )
          : null,
        real
          ? real.pixels
            ? null
            : h(
                'p',
                { class: 'small muted' },
                'Their pixels were left out of the file this run came from.',
              )
          : h(
              'p',
              { class: 'small muted' },
              over.tested_on === 'synthetic'
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
          h('span', { class: 'muted' }, neighbors?.compared ? among(neighbors) : ''),
        ),
        others?.length
          ? h(
              'ul',
              { class: 'near' },
              others.map(({ it, pos, c, d, image: url }) =>
                h(
                  'li',
                  null,
                  h(
                    'a',
                    {
                      ...link({ sel: { it, pos }, class: null, step: null }),
                      'aria-label': `${over.classes[c]}, iteration ${it + 1}, distance ${d.toFixed(2)}`,
                    },
                    thumb(url, 28),
                  ),
                  under(store, c, d),
                ),
              ),
            )
          : h(
              'p',
              { class: 'small muted' },
              neighbors == null
                ? 'Searching…'
                : (neighbors.error ??
                    (over.classes.length < 2 ? 'This run has only one class.' : 'None found.')),
            ),
      ),
    );
  }
}

function under(/** @type {RunStore} */ store, c, d) {
  return h(
    'span',
    { class: 'num', title: store.over.classes[c] ?? '' },
    dot(store.colours[c] ?? 0),
    d < 99.5 ? d.toFixed(2) : num(d),
  );
}

function among(/** @type {Neighbors} */ { compared, looked, of }) {
  return looked < of
    ? `among a sample of ${num(compared)} from ${num(looked)} of ${num(of)} iterations`
    : `among ${num(compared)} from all ${num(of)} iterations so far`;
}
