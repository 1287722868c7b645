// One image on the Inspect page: the image and its maps, its loss, the networks' predictions, how
// it was made, and similar images.

import {
  dot,
  h,
  math,
  num,
  pct,
  picture,
  put,
  setAttr,
  setText,
  term,
  whole,
} from '../core/dom.js';
import { scaleOf } from '../store/groups.js';
import { cellSize, figure, ghost, grid, hinge } from '../charts/maps.js';
import * as strips from '../charts/loss_strips.js';
import { told } from '../core/glossary.js';
import { Surface } from '../charts/surface.js';
import { generatorTerms, inUse, mapNames } from '../core/terms.js';

/** @import { Changes, ImageDetail, Neighbors, Props } from '../core/types.js' */
/** @import { RunStore } from '../store/run_store.js' */

const LARGEST = 280;
const OPERATOR = 16;
const SMALL = 56;

/** In the order in which people ask; the term shared by the whole batch comes last. */
const ORDER = ['ce', 'kr', 'adv', 'aed', 'tv', 'l2', 'bn'];
const sure = (p) => (p == null ? '' : p > 0 && p < 0.005 ? '< 1%' : pct(p));

/** One image in full. */
export class ImageView {
  /**
   * @param {HTMLElement} root
   * @param {object} hooks
   * @param {string} hooks.plotly Address of Plotly.
   * @param {(step: number | null) => void} hooks.step Shows the frame at that step; null is the
   *   finished image.
   * @param {(changes: Changes) => Props} hooks.link Makes the attributes of a link on this page.
   */
  constructor(root, { plotly, step, link }) {
    this.root = root;
    this.step = step;
    this.link = link;
    /** @type {HTMLElement} */
    this.key = root.querySelector('.in-key');
    /** @type {HTMLElement} */
    this.equation = root.querySelector('.equation');
    /** @type {HTMLElement} */
    this.eqNote = root.querySelector('.eq-note');
    /** @type {HTMLElement} */
    this.strips = root.querySelector('.strips');
    /** @type {HTMLElement} */
    this.lossNote = root.querySelector('.loss-note');
    /** @type {HTMLButtonElement} */
    this.why = root.querySelector('.why');
    /** @type {HTMLElement} */
    this.tops = root.querySelector('.tops');
    /** @type {HTMLElement} */
    this.side = root.querySelector('.side');
    /** @type {HTMLElement} */
    this.solid = root.querySelector('.surface');
    this.surface = new Surface(this.solid, plotly);
    this.why.addEventListener('click', () =>
      setAttr(this.why, 'aria-expanded', String(this.root.classList.toggle('explained'))),
    );
    this.key.addEventListener('change', (e) => {
      const { name, value } = /** @type {HTMLInputElement} */ (e.target);
      if (name === 'kg-in-as') {
        this.as = value;
        if (this.image) this.#equation();
      }
    });
    new ResizeObserver(() => this.image && this.#equation(true)).observe(this.key);
  }

  /**
   * Draws the image.
   * @param {RunStore} store
   * @param {ImageDetail} image
   * @param {Neighbors | null} neighbors Null until they arrive.
   * @param {number | null} at The step being shown.
   */
  draw(store, image, neighbors, at) {
    const other = this.image !== image;
    this.store = store;
    this.image = image;
    this.neighbors = neighbors;
    this.at = at;
    const { over } = store;
    const scale = scaleOf(over, image.iteration);
    const target = scale?.target.flat() ?? [];
    this.scale = image.map[0] * image.map[1] && target.length === image.cam.length ? scale : null;
    this.missing = hinge(target, this.scale ? image.cam : []);
    this.warm = image.iteration < over.warmup;
    if (other) {
      this.size = null;
      this.frame = undefined;
    }
    this.#equation();
    const terms = inUse(over, generatorTerms(over)).sort(
      (a, b) => ORDER.indexOf(a.name) - ORDER.indexOf(b.name),
    );
    strips.draw(this.strips, terms, over, neighbors?.shared, {
      image,
      nameOf: (index) => store.nameOf(index),
      missing: this.missing,
      warm: this.warm,
    });
    strips.note(this.lossNote, image);
    this.#tops();
    this.#side();
  }

  /**
   * The recorded steps of how it was made.
   * @returns {ImageDetail['frames']}
   */
  get frames() {
    return this.image.frames;
  }

  /** The frame being shown; -1 for the finished image. */
  #frame() {
    return this.at == null ? -1 : this.frames.findIndex(({ step }) => step === this.at);
  }

  // --- the key region ---------------------------------------------------------------------------

  #equation(resized = false) {
    const {
      image,
      scale,
      store: { over },
    } = this;
    const width = this.key.clientWidth - 32;
    const narrow = width < 720;
    const solid = this.as === 'surface' && Boolean(scale);
    if (width <= 0) return;
    setAttr(this.key.querySelector('.seg'), 'hidden', !scale);
    this.surface.show(solid);
    setAttr(this.equation, 'hidden', solid);
    if (solid) {
      if (!resized) this.surface.draw(scale, image.cam, mapNames(over).short);
      return;
    }
    const room = narrow
      ? Math.floor((width - 20) / 2)
      : Math.min(LARGEST, Math.floor((width - 2 * OPERATOR - 6 * 12) / 4));
    const cell = scale ? cellSize(scale, image.side, room) : room;
    const side = cell * (scale ? Math.max(scale.h, scale.w) : 1);
    const size = `${cell} ${side} ${narrow}`;
    const frame = this.#frame();
    if (size === this.size && frame === this.frame) return;
    if (size !== this.size) this.#figures(cell, side);
    this.size = size;
    this.frame = frame;
    this.#picture(side, frame);
  }

  #figures(cell, side) {
    const {
      image,
      scale,
      missing: { missing, count, sum },
      store: { over },
    } = this;
    const names = mapNames(over);
    const fine = image.side > 64 ? ' fine' : '';
    this.equation.style.setProperty('--cell', `${cell}px`);
    this.equation.style.setProperty('--side', `${side}px`);
    this.large = h('div', { class: `pic-lg${fine}${scale ? '' : ' bare'}` });
    this.slider = this.frames.length
      ? h('input', {
          type: 'range',
          min: 0,
          max: this.frames.length,
          step: 1,
          'aria-label': 'Generation step',
          oninput: () => this.step(this.frames[+this.slider.value]?.step ?? null),
        })
      : null;
    this.moment = h('small', { class: 'moment' });
    const op = (sign) => h('div', { class: 'op', 'aria-hidden': 'true' }, sign);
    const own = figure('Image', `${image.side} × ${image.side}`, this.large);
    own.append(h('div', { class: 'scrub' }, this.slider, this.moment));
    const top = Math.max(1, ...image.cam);
    this.equation.classList.toggle('bare', !scale);
    if (!scale) {
      put(
        this.equation,
        own,
        figure(
          names.title,
          '',
          ghost(
            image.map[0] * image.map[1] > 1
              ? 'The target for this map is unknown.'
              : 'This teacher has no spatial map, so key region is off.',
          ),
        ),
      );
      setText(this.eqNote, '');
      return;
    }
    const target = scale.target.flat();
    const off = over.recipe.weights.kr === 0;
    put(
      this.equation,
      own,
      op(''),
      figure(
        term(
          'Target',
          'G(i, j): a Gaussian with peak i at the center and a width of j cells; Full(n): n everywhere. The loss pushes the map to at least this height.',
        ),
        over.map.label,
        grid('', scale, target, null, 'Target'),
      ),
      op('−'),
      figure(
        term(
          names.title,
          `${names.tip}: how strongly each of the ${scale.h} × ${scale.w} cells supports the class, according to the teacher. Raw values; the color scale ends at the map’s maximum, or at 1 if that is higher.`,
        ),
        names.title.length > 9 ? '' : 'evidence, raw',
        grid(
          '',
          scale,
          image.cam,
          missing,
          `${names.title}, ${count} of ${target.length} cells below the target`,
          top,
        ),
      ),
      op('='),
      figure(
        term('Missing', 'max(0, target − map). Only the outlined cells get a gradient.'),
        [math('L', 'kr'), ` = Σ = ${sum < 99.5 ? sum.toFixed(2) : num(sum)}`],
        grid('miss', scale, missing, missing, `Missing evidence, sum ${sum.toFixed(2)}`),
      ),
    );
    setText(
      this.eqNote,
      `${off ? 'Key region has zero weight in this run. ' : ''}${count ? `${num(count)} of ${num(target.length)} cells are below the target (outlined); the others get no gradient.` : 'No cell is below the target, so there is no gradient.'} Gray: evidence against the class.`,
    );
  }

  /** The finished image, or a step on the way to it. */
  #picture(side, frame) {
    const {
      image,
      store: { over },
    } = this;
    const shown = this.frames[frame];
    put(
      this.large,
      picture(
        { url: shown?.image ?? image.image },
        side,
        `Synthetic ${over.classes[image.c]}${shown ? `, step ${shown.step + 1}` : ', enlarged'}`,
      ),
    );
    if (this.slider) {
      this.slider.value = frame < 0 ? this.frames.length : frame;
      setAttr(
        this.slider,
        'aria-valuetext',
        shown
          ? `step ${shown.step + 1}${shown.p == null ? '' : `, teacher ${sure(shown.p)} sure`}`
          : `finished, teacher ${sure(image.p)} sure`,
      );
    }
    setText(
      this.moment,
      this.slider
        ? shown
          ? `step ${num(shown.step + 1)}${shown.p == null ? '' : `, ${sure(shown.p)} sure`}`
          : `${image.kept_step == null ? '' : `step ${num(image.kept_step + 1)}, `}kept, ${sure(image.p)} sure`
        : '',
    );
    for (const button of this.#film())
      setAttr(button, 'aria-pressed', String(+button.dataset.frame === frame));
  }

  /** @returns {NodeListOf<HTMLElement>} */
  #film() {
    return this.side.querySelectorAll('.film button');
  }

  // --- predictions of the networks
  // -----------------------------------------------------------------

  #tops() {
    const { image, store, warm } = this;
    const { over } = store;
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
      this.tops,
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
          this.#opinion(),
        ),
    );
  }

  /** The judge's opinion in a sentence. */
  #opinion() {
    const {
      image,
      store: { over },
    } = this;
    const { title, classes } = over.judge;
    const name = over.classes[image.c];
    if (image.rank == null) return `${title} did not classify this image.`;
    return image.rank === 1
      ? `${title}, which took no part in the run, also classifies it as “${name}”.`
      : `${title}, which took no part in the run, ranks ${num(image.rank - 1)} of its ${num(classes)} classes above “${name}”.`;
  }

  // --- how it was made, and similar images
  // -------------------------------------------------------------

  #side() {
    const { image, neighbors, store, link } = this;
    const { over } = store;
    const thumb = (url, side, label) =>
      picture({ url }, side > 64 ? SMALL : whole(side, SMALL), label);
    const at = image.kept_step;
    const film = this.frames.length
      ? h(
          'ol',
          { class: 'film' },
          /** @type {[number, string, string, number | null, number | null][]} */ ([
            ...this.frames.map(({ step, p, image: url }, i) => [
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
                  'aria-pressed': String(i === this.#frame()),
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
      this.frames.length && this.frames.every(({ p }) => p == null)
        ? h(
            'p',
            { class: 'small muted' },
            'Teacher confidence per step is not available: this run comes from an earlier version.',
          )
        : null;
    const real = image.nearest;
    const others = neighbors?.found;
    put(
      this.side,
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
                  this.#under(c, d),
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
          h('span', { class: 'muted' }, neighbors?.compared ? this.#among(neighbors) : ''),
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
                  this.#under(c, d),
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

  #under(c, d) {
    return h(
      'span',
      { class: 'num', title: this.store.over.classes[c] ?? '' },
      dot(this.store.colours[c] ?? 0),
      d < 99.5 ? d.toFixed(2) : num(d),
    );
  }

  #among(/** @type {Neighbors} */ { compared, looked, of }) {
    return looked < of
      ? `among a sample of ${num(compared)} from ${num(looked)} of ${num(of)} iterations`
      : `among ${num(compared)} from all ${num(of)} iterations so far`;
  }
}
