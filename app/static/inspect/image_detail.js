// One image on the Inspect page: the image, its maps and its loss, with the networks' predictions
// (predictions.js), how it was made, and similar images (relatives.js).

import { h, math, num, picture, put, setAttr, setText, term } from '../core/dom.js';
import { scaleOf } from '../store/groups.js';
import { cellSize, figure, ghost, grid, hinge } from '../charts/maps.js';
import * as strips from '../charts/loss_strips.js';
import { Predictions } from './predictions.js';
import { Relatives, sure } from './relatives.js';
import { Surface } from '../charts/surface.js';
import { generatorTerms, inUse, mapNames } from '../core/terms.js';

/** @import { Changes, ImageAndNeighbors, ImageDetail, Props, Shown } from '../core/types.js' */
/** @import { RunStore } from '../store/run_store.js' */

const LARGEST = 280;
const OPERATOR = 16;

/** In the order in which people ask; the term shared by the whole batch comes last. */
const ORDER = ['ce', 'kr', 'adv', 'aed', 'tv', 'l2', 'bn'];

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
    this.predictions = new Predictions(root.querySelector('.tops'));
    this.relatives = new Relatives(root.querySelector('.side'), { step, link });
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
   * @param {Shown<RunStore, number | null, ImageAndNeighbors>} shown At a generator step; null is
   *   the finished image.
   */
  draw(shown) {
    const { snapshot: store, moment: at } = shown;
    const { image, neighbors } = shown.selection;
    const other = this.image !== image;
    this.store = store;
    this.image = image;
    this.at = at;
    const { over } = store;
    const scale = scaleOf(over, image.iteration);
    const target = scale?.target.flat() ?? [];
    this.scale = image.map[0] * image.map[1] && target.length === image.cam.length ? scale : null;
    this.missing = hinge(target, this.scale ? image.cam : []);
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
      warm: image.iteration < over.warmup,
    });
    strips.note(this.lossNote, image);
    this.predictions.draw(shown);
    this.relatives.draw(shown);
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
    this.relatives.mark(frame);
  }
}
