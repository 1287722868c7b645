// One image on the Inspect page: the image, its maps and its loss, with the networks' predictions
// (predictions.js), how it was made, and similar images (relatives.js).

import { h, math, num, picture, setChildren, setAttr, setText, term } from '../core/dom.js';
import { scaleOf } from '../store/groups.js';
import { cellSize, mapFigure, placeholder, mapGrid, missingEvidence } from '../charts/maps.js';
import * as strips from '../charts/loss_strips.js';
import { Predictions } from './predictions.js';
import { Relatives, confidence } from './relatives.js';
import { Surface } from '../charts/surface.js';
import { generatorTerms, inUse, mapNames } from '../core/terms.js';

/** @import { Changes, ImageAndNeighbors, ImageDetail, PanelState } from '../core/types.js' */
/** @import { Props } from '../core/types.js' */
/** @import { RunStore } from '../store/run_store.js' */

const MAX_SIDE = 280;
const OPERATOR_WIDTH = 16;

/** One image in full. */
export class ImageView {
  /**
   * @param {HTMLElement} root
   * @param {object} hooks
   * @param {string} hooks.plotly Address of Plotly.
   * @param {(step: number | null) => void} hooks.onStep Shows the frame at that step; null is the
   *   finished image.
   * @param {(changes: Changes) => Props} hooks.link Makes the attributes of a link on this page.
   */
  constructor(root, { plotly, onStep, link }) {
    this.root = root;
    this.onStep = onStep;
    /** @type {HTMLElement} */
    this.panel = root.querySelector('.in-key');
    /** @type {HTMLElement} */
    this.equation = root.querySelector('.equation');
    /** @type {HTMLElement} */
    this.eqNote = root.querySelector('.eq-note');
    /** @type {HTMLElement} */
    this.strips = root.querySelector('.strips');
    /** @type {HTMLElement} */
    this.lossNote = root.querySelector('.loss-note');
    /** @type {HTMLButtonElement} */
    this.explainButton = root.querySelector('.why');
    this.predictions = new Predictions(root.querySelector('.tops'));
    this.relatives = new Relatives(root.querySelector('.side'), { onStep, link });
    /** @type {HTMLElement} */
    this.surfaceHost = root.querySelector('.surface');
    this.surface = new Surface(this.surfaceHost, plotly);
    this.explainButton.addEventListener('click', () =>
      setAttr(this.explainButton, 'aria-expanded', String(this.root.classList.toggle('explained'))),
    );
    this.panel.addEventListener('change', (e) => {
      const { name, value } = /** @type {HTMLInputElement} */ (e.target);
      if (name === 'kg-in-as') {
        this.mapView = value;
        if (this.image) this.#equation();
      }
    });
    new ResizeObserver(() => this.image && this.#equation(true)).observe(this.panel);
  }

  /**
   * Draws the image.
   * @param {PanelState<RunStore, number | null, ImageAndNeighbors>} state At a generator step; null
   *   is the finished image.
   */
  draw(state) {
    const { snapshot: store, moment } = state;
    const { image, neighbors } = state.selection;
    const isNewImage = this.image !== image;
    this.store = store;
    this.image = image;
    this.currentStep = moment;
    const { overview } = store;
    const scale = scaleOf(overview, image.iteration);
    const target = scale?.target.flat() ?? [];
    this.scale = image.map[0] * image.map[1] && target.length === image.cam.length ? scale : null;
    this.missing = missingEvidence(target, this.scale ? image.cam : []);
    if (isNewImage) {
      this.size = null;
      this.frame = undefined;
    }
    this.#equation();
    const terms = inUse(overview, generatorTerms(overview)).sort(
      (a, b) => Number(a.per_batch ?? false) - Number(b.per_batch ?? false),
    );
    strips.draw(this.strips, terms, overview, neighbors?.shared, {
      image,
      nameOf: (index) => store.nameOf(index),
      missing: this.missing,
      inWarmup: image.iteration < overview.warmup,
    });
    strips.drawBatchSize(this.lossNote, image);
    this.predictions.draw(state);
    this.relatives.draw(state);
  }

  /**
   * The recorded steps of the image.
   * @returns {ImageDetail['frames']}
   */
  get frames() {
    return this.image.frames;
  }

  /** The frame being shown; -1 for the finished image. */
  #frame() {
    return this.currentStep == null
      ? -1
      : this.frames.findIndex(({ step }) => step === this.currentStep);
  }

  // --- the key region ---------------------------------------------------------------------------

  #equation(resized = false) {
    const {
      image,
      scale,
      store: { overview },
    } = this;
    const width = this.panel.clientWidth - 32;
    const isNarrow = width < 720;
    const surfaceHost = this.mapView === 'surface' && Boolean(scale);
    if (width <= 0) return;
    setAttr(this.panel.querySelector('.seg'), 'hidden', !scale);
    this.surface.show(surfaceHost);
    setAttr(this.equation, 'hidden', surfaceHost);
    if (surfaceHost) {
      if (!resized) this.surface.draw(scale, image.cam, mapNames(overview).short);
      return;
    }
    const available = isNarrow
      ? Math.floor((width - 20) / 2)
      : Math.min(MAX_SIDE, Math.floor((width - 2 * OPERATOR_WIDTH - 6 * 12) / 4));
    const cell = scale ? cellSize(scale, image.side, available) : available;
    const side = cell * (scale ? Math.max(scale.h, scale.w) : 1);
    const size = `${cell} ${side} ${isNarrow}`;
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
      store: { overview },
    } = this;
    const names = mapNames(overview);
    const smoothClass = image.side > 64 ? ' fine' : '';
    this.equation.style.setProperty('--cell', `${cell}px`);
    this.equation.style.setProperty('--side', `${side}px`);
    this.largeImage = h('div', { class: `pic-lg${smoothClass}${scale ? '' : ' bare'}` });
    this.slider = this.frames.length
      ? h('input', {
          type: 'range',
          min: 0,
          max: this.frames.length,
          step: 1,
          'aria-label': 'Generation step',
          oninput: () => this.onStep(this.frames[+this.slider.value]?.step ?? null),
        })
      : null;
    this.stepLabel = h('small', { class: 'moment' });
    const operator = (sign) => h('div', { class: 'op', 'aria-hidden': 'true' }, sign);
    const imageFigure = mapFigure('Image', `${image.side} × ${image.side}`, this.largeImage);
    imageFigure.append(h('div', { class: 'scrub' }, this.slider, this.stepLabel));
    const max = Math.max(1, ...image.cam);
    this.equation.classList.toggle('bare', !scale);
    if (!scale) {
      setChildren(
        this.equation,
        imageFigure,
        mapFigure(
          names.title,
          '',
          placeholder(
            image.map[0] * image.map[1] > 1
              ? 'The target for this map is unknown.'
              : 'This teacher has no spatial map, so the key region is off.',
          ),
        ),
      );
      setText(this.eqNote, '');
      return;
    }
    const target = scale.target.flat();
    const isDisabled = overview.recipe.weights.kr === 0;
    setChildren(
      this.equation,
      imageFigure,
      operator(''),
      mapFigure(
        term(
          'Target',
          'G(i, j): a Gaussian with peak i at the center and a width of j cells; Full(n): n everywhere. The loss pushes the map to at least this height.',
        ),
        overview.map.label,
        mapGrid('', scale, target, null, 'Target'),
      ),
      operator('−'),
      mapFigure(
        term(
          names.title,
          `${names.tip}: how strongly each of the ${scale.h} × ${scale.w} cells supports the class, according to the teacher. Raw values; the color scale ends at the map’s maximum, or at 1 if that is higher.`,
        ),
        names.title.length > 9 ? '' : 'evidence, raw',
        mapGrid(
          '',
          scale,
          image.cam,
          missing,
          `${names.title}, ${count} of ${target.length} cells below the target`,
          max,
        ),
      ),
      operator('='),
      mapFigure(
        term('Missing', 'max(0, target − map). Only the outlined cells get a gradient.'),
        [math('L', 'kr'), ` = Σ = ${sum < 99.5 ? sum.toFixed(2) : num(sum)}`],
        mapGrid('miss', scale, missing, missing, `Missing evidence, sum ${sum.toFixed(2)}`),
      ),
    );
    setText(
      this.eqNote,
      `${isDisabled ? 'The key region has zero weight in this run. ' : ''}${count ? `${num(count)} of ${num(target.length)} cells are below the target (outlined); the others get no gradient.` : 'No cell is below the target, so there is no gradient.'} Gray: evidence against the class.`,
    );
  }

  /** Draws the finished image, or one of the steps that led to it. */
  #picture(side, frame) {
    const {
      image,
      store: { overview },
    } = this;
    const shownFrame = this.frames[frame];
    setChildren(
      this.largeImage,
      picture(
        { url: shownFrame?.image ?? image.image },
        side,
        `Synthetic ${overview.classes[image.c]}${shownFrame ? `, step ${shownFrame.step + 1}` : ', enlarged'}`,
      ),
    );
    if (this.slider) {
      this.slider.value = frame < 0 ? this.frames.length : frame;
      setAttr(
        this.slider,
        'aria-valuetext',
        shownFrame
          ? `step ${shownFrame.step + 1}${shownFrame.p == null ? '' : `, teacher ${confidence(shownFrame.p)} sure`}`
          : `finished, teacher ${confidence(image.p)} sure`,
      );
    }
    setText(
      this.stepLabel,
      this.slider
        ? shownFrame
          ? `step ${num(shownFrame.step + 1)}${shownFrame.p == null ? '' : `, ${confidence(shownFrame.p)} sure`}`
          : `${image.kept_step == null ? '' : `step ${num(image.kept_step + 1)}, `}kept, ${confidence(image.p)} sure`
        : '',
    );
    this.relatives.markFrame(frame);
  }
}
