// Key region: where the teacher finds evidence (CAM), where it should be (target), and what is
// still missing (Eq. 5, 6).

import { cell, h, math, num, pct, picture, put, setText, term } from '../core/dom.js';
import { told } from '../core/glossary.js';
import { scaleOf } from '../store/groups.js';
import { cellSize, figure, ghost, grid, hinge } from '../charts/maps.js';
import { ACTIVE } from '../setup/sidebar.js';
import { Surface } from '../charts/surface.js';
import { mapNames } from '../core/terms.js';

/** @import { Shown, ShownImage } from '../core/types.js' */

// pixels of a map, before it is aligned with the image's pixels
const SIDE = { narrow: 168, wide: 224 };

/**
 * Names the class and the confidence, with "sure" if there is room for it beside the title.
 * @param {string} name
 * @param {ShownImage} image
 * @param {number} side
 * @returns {string}
 */
function caption(name, { p, replay }, side) {
  const text = `${name}, ${replay ? 'in progress' : pct(p)}`;
  const whole = `${text} sure`;
  return !replay && 5.8 * whole.length + 40 <= side ? whole : text;
}
const ramp = (kind, ...marks) =>
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
  constructor(view, { plotly: script }) {
    /** @type {HTMLElement} */
    this.panel = view.querySelector('.p-key');
    /** @type {HTMLElement} */
    this.quad = this.panel.querySelector('.quad');
    /** @type {HTMLElement} */
    this.note = this.panel.querySelector('.note');
    this.surface = new Surface(this.panel.querySelector('.surface'), script);
    this.panel.addEventListener('change', (e) => {
      const { name, value } = /** @type {HTMLInputElement} */ (e.target);
      if (name !== 'kg-as') return;
      this.solid = value === 'surface';
      this.quad.hidden = this.solid;
      this.surface.show(this.solid);
      this.key = '';
      if (this.last) this.draw(this.last);
    });
  }

  /**
   * Draws the image, its map, the target and the missing evidence.
   * @param {Shown} shown
   */
  draw(shown) {
    this.last = shown;
    const { snapshot: snap, selection } = shown;
    const { image } = selection;
    const following = !selection.pinned;
    const room = matchMedia('(min-width: 1680px) and (min-height: 1040px)').matches
      ? SIDE.wide
      : Math.min(SIDE.narrow, (this.panel.clientWidth - 44) / 2);
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
        image.piece.url.length,
        image.piece.url.slice(-64),
        image.piece.col,
      ],
      following,
      room,
      snap.phase,
    ].join('|');
    if (key === this.key) return;
    this.key = key;
    const target = scale.target.flat();
    const cells = target.length;
    const flat = !cells || !names.short;
    if (flat) {
      this.#without(snap, image, room);
      return;
    }
    const cam = image?.cam;
    const { missing, count, sum } = hinge(target, cam ?? []);
    const off = snap.recipe.weights?.kr === 0;
    const coming = ACTIVE.includes(snap.phase) || snap.making || snap.counters.iterations_done;
    setText(
      this.note,
      !image
        ? ''
        : !cam
          ? 'available when the batch is done'
          : `${following ? 'newest image, ' : ''}${off ? 'off in this run' : `${count} of ${cells} cells below target`}`,
    );
    if (this.solid) {
      this.surface.draw(scale, cam ?? null, names.short);
      return;
    }
    const size = cellSize(scale, scale.side, room);
    const side = size * Math.max(scale.w, scale.h);
    const name = image && snap.classes[image.c];
    this.quad.style.setProperty('--cell', `${size}px`);
    this.quad.style.setProperty('--side', `${side}px`);
    const [low, high] = [Math.min(...target), Math.max(...target)];
    const top = Math.max(1, ...(image?.cam ?? []));
    put(
      this.quad,
      figure(
        'Image',
        image ? caption(name, image, side) : '',
        image
          ? h('div', { class: 'pic-lg' }, picture(image.piece, side, `Synthetic ${name}`))
          : ghost(
              snap.phase === 'empty'
                ? 'Press Start, then select an image'
                : coming
                  ? 'Coming up…'
                  : 'No image was finished',
            ),
      ),
      figure(
        term(
          names.title,
          `${names.tip}: how strongly each of the ${scale.h} × ${scale.w} cells supports the class, according to the teacher. Raw values. The color scale ends at the map’s maximum, or at 1 if that is higher; the target’s ends at 1.`,
        ),
        names.title.length > 9 ? '' : 'evidence, raw',
        cam
          ? grid(
              '',
              scale,
              cam,
              missing,
              `${names.title}, ${count} of ${cells} cells below the target`,
              top,
            )
          : ghost(
              image ? 'Available for finished batches only' : 'What the teacher sees, cell by cell',
            ),
      ),
      ramp('', cell(top), '0', '< 0'),
      figure(
        term('Target', told('target')),
        snap.map.label,
        grid(
          '',
          scale,
          target,
          null,
          `Target: ${high.toFixed(2)} in the center, ${low.toFixed(2)} in the corners`,
        ),
      ),
      figure(
        term('Missing', `${told('missing')} Cells below the target are outlined.`),
        cam ? [math('L', 'kr'), ` = Σ = ${sum < 99.5 ? sum.toFixed(2) : num(sum)}`] : '',
        cam
          ? grid('miss', scale, missing, missing, `Missing evidence, sum ${sum.toFixed(2)}`)
          : ghost(
              image
                ? 'Available when the batch is done'
                : 'Missing evidence; only these cells get a gradient',
            ),
      ),
      ramp('miss', '1', '0'),
    );
  }

  /** For a teacher without a spatial map. */
  #without(snap, image, room) {
    setText(this.note, '');
    const side = Math.floor(room);
    this.quad.style.setProperty('--side', `${side}px`);
    this.quad.style.setProperty('--cell', `${side}px`);
    put(
      this.quad,
      figure(
        'Image',
        image ? caption(snap.classes[image.c], image, side) : '',
        image
          ? h(
              'div',
              { class: 'pic-lg' },
              picture(image.piece, side, `Synthetic ${snap.classes[image.c]}`),
            )
          : ghost(''),
      ),
      figure(
        mapNames(snap).title,
        '',
        ghost('This teacher has no spatial map, so key region is off.'),
      ),
    );
  }
}
