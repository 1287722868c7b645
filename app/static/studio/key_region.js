// The key region panel: where the teacher finds evidence (CAM), where it should be (target), and
// what is missing (Eq. 5, 6).

import { cellText, h, math, num, pct, picture, setChildren, setText, term } from '../core/dom.js';
import { glossaryTip } from '../core/glossary.js';
import { scaleOf } from '../store/groups.js';
import { cellSize, mapFigure, placeholder, mapGrid, missingEvidence } from '../charts/maps.js';
import { ACTIVE } from '../setup/sidebar.js';
import { Surface } from '../charts/surface.js';
import { mapNames } from '../core/terms.js';

/** @import { PanelState, DisplayedImage } from '../core/types.js' */

// pixels of a map, before it is aligned with the image's pixels
const MAX_SIDE = { narrow: 168, wide: 224 };

/**
 * Names the class and the confidence, with "sure" if it fits beside the title.
 * @param {string} name
 * @param {DisplayedImage} image
 * @param {number} side
 * @returns {string}
 */
function caption(name, { p, replayed }, side) {
  const text = `${name}, ${replayed ? 'in progress' : pct(p)}`;
  const fullText = `${text} sure`;
  return !replayed && 5.8 * fullText.length + 40 <= side ? fullText : text;
}
const renderRamp = (kind, ...marks) =>
  h(
    'div',
    { class: `ramp ${kind}`, 'aria-hidden': 'true' },
    h('i'),
    h(
      'div',
      null,
      marks.map((m) => h('span', null, m)),
    ),
  );

/** The key region panel. */
export class KeyRegion {
  /**
   * @param {HTMLElement} view
   * @param {{ plotly: string }} hooks Address of Plotly.
   */
  constructor(view, { plotly: plotlyUrl }) {
    /** @type {HTMLElement} */
    this.panel = view.querySelector('.p-key');
    /** @type {HTMLElement} */
    this.figures = this.panel.querySelector('.key-figures');
    /** @type {HTMLElement} */
    this.note = this.panel.querySelector('.note');
    this.surface = new Surface(this.panel.querySelector('.surface'), plotlyUrl);
    this.panel.addEventListener('change', (e) => {
      const { name, value } = /** @type {HTMLInputElement} */ (e.target);
      if (name !== 'kg-as') return;
      this.is3d = value === 'surface';
      this.figures.hidden = this.is3d;
      this.surface.show(this.is3d);
      this.key = '';
      if (this.state) this.draw(this.state);
    });
  }

  /**
   * Draws the image, its map, the target and the missing evidence.
   * @param {PanelState} state
   */
  draw(state) {
    this.state = state;
    const { snapshot: snap, selection } = state;
    const { image } = selection;
    const isNewest = !selection.pinned;
    const available = matchMedia('(min-width: 1680px) and (min-height: 1040px)').matches
      ? MAX_SIDE.wide
      : Math.min(MAX_SIDE.narrow, (this.panel.clientWidth - 44) / 2);
    const scale = scaleOf(snap, image?.it);
    const names = mapNames(snap);
    const key = [
      snap.run,
      snap.map.label,
      snap.map.kind,
      scale.side,
      image && [
        image.it,
        image.c,
        image.p,
        Boolean(image.cam),
        image.crop.url.length,
        image.crop.url.slice(-64),
        image.crop.col,
      ],
      isNewest,
      available,
      snap.phase,
    ].join('|');
    if (key === this.key) return;
    this.key = key;
    const target = scale.target.flat();
    const cells = target.length;
    const hasNoMap = !cells || !names.short;
    if (hasNoMap) {
      this.#drawWithoutMap(snap, image, available);
      return;
    }
    const cam = image?.cam;
    const { missing, count, sum } = missingEvidence(target, cam ?? []);
    const isDisabled = snap.recipe.weights?.kr === 0;
    const imagesExpected =
      ACTIVE.includes(snap.phase) || snap.making || snap.counters.iterations_done;
    setText(
      this.note,
      !image
        ? ''
        : !cam
          ? 'available when the batch is done'
          : `${isNewest ? 'newest image, ' : ''}${isDisabled ? 'off in this run' : `${count} of ${cells} cells below target`}`,
    );
    if (this.is3d) {
      this.surface.draw(scale, cam ?? null, names.short);
      return;
    }
    const size = cellSize(scale, scale.side, available);
    const side = size * Math.max(scale.w, scale.h);
    const name = image && snap.classes[image.c];
    this.figures.style.setProperty('--cell', `${size}px`);
    this.figures.style.setProperty('--side', `${side}px`);
    const [low, high] = [Math.min(...target), Math.max(...target)];
    const max = Math.max(1, ...(image?.cam ?? []));
    setChildren(
      this.figures,
      mapFigure(
        'Image',
        image ? caption(name, image, side) : '',
        image
          ? h('div', { class: 'pic-lg' }, picture(image.crop, side, `Synthetic ${name}`))
          : placeholder(
              snap.phase === 'empty'
                ? 'Press Start, then select an image'
                : imagesExpected
                  ? 'Coming up…'
                  : 'No image was finished',
            ),
      ),
      mapFigure(
        term(
          names.title,
          `${names.tip}: how strongly each of the ${scale.h} × ${scale.w} cells supports the class, according to the teacher. Raw values. The color scale ends at the map’s maximum, or at 1 if that is higher; the target’s ends at 1.`,
        ),
        names.title.length > 9 ? '' : 'evidence, raw',
        cam
          ? mapGrid(
              '',
              scale,
              cam,
              missing,
              `${names.title}, ${count} of ${cells} cells below the target`,
              max,
            )
          : placeholder(
              image ? 'Available for finished batches only' : 'What the teacher sees, cell by cell',
            ),
      ),
      renderRamp('', cellText(max), '0', '< 0'),
      mapFigure(
        term('Target', glossaryTip('target')),
        snap.map.label,
        mapGrid(
          '',
          scale,
          target,
          null,
          `Target: ${high.toFixed(2)} in the center, ${low.toFixed(2)} in the corners`,
        ),
      ),
      mapFigure(
        term('Missing', `${glossaryTip('missing')} Cells below the target are outlined.`),
        cam ? [math('L', 'kr'), ` = Σ = ${sum < 99.5 ? sum.toFixed(2) : num(sum)}`] : '',
        cam
          ? mapGrid('miss', scale, missing, missing, `Missing evidence, sum ${sum.toFixed(2)}`)
          : placeholder(
              image
                ? 'Available when the batch is done'
                : 'Missing evidence; only these cells get a gradient',
            ),
      ),
      renderRamp('miss', '1', '0'),
    );
  }

  /** Draws the panel for a teacher without a spatial map. */
  #drawWithoutMap(snap, image, available) {
    setText(this.note, '');
    const side = Math.floor(available);
    this.figures.style.setProperty('--side', `${side}px`);
    this.figures.style.setProperty('--cell', `${side}px`);
    setChildren(
      this.figures,
      mapFigure(
        'Image',
        image ? caption(snap.classes[image.c], image, side) : '',
        image
          ? h(
              'div',
              { class: 'pic-lg' },
              picture(image.crop, side, `Synthetic ${snap.classes[image.c]}`),
            )
          : placeholder(''),
      ),
      mapFigure(
        mapNames(snap).title,
        '',
        placeholder('This teacher has no spatial map, so the key region is off.'),
      ),
    );
  }
}
