// A dialog with the exchange rate of a run, which says how many real photos its synthetic images
// are worth. It is measured by `python -m kgen worth`.

import { open } from '../core/dialog.js';
import { glossaryTip } from '../core/glossary.js';
import { h, num, percentage, pct, s } from '../core/dom.js';

/** @import { Worth } from '../core/types.js' */

const H = 340;
const LEFT = 44;
const TOP = 24;
const BOTTOM = 44;

/**
 * Shows the exchange rate of a run.
 * @param {string} run
 * @param {Worth | null} worth Null if it has not been measured.
 */
export function openExchangeDialog(run, worth) {
  const command = h('code', { class: 'command' }, `python -m kgen worth runs/${run}`);
  open(
    'Exchange rate',
    [],
    worth?.sentence ? h('p', { class: 'lead' }, worth.sentence) : null,
    worth?.points.length ? chart(worth) : null,
    worth?.points.length
      ? h(
          'p',
          { class: 'small muted' },
          `For each set of images, the run’s student is retrained for ${num(worth.steps)} steps from the same initial weights and with the same teacher. Accuracy is measured on ${num(worth.n)} real test images that it was never trained on. One seed (${worth.seed}).`,
        )
      : null,
    worth?.rate
      ? null
      : h(
          'div',
          null,
          h('p', null, glossaryTip('exchange-rate')),
          h(
            'p',
            { class: 'muted' },
            worth
              ? 'The measurement is in progress or was interrupted. To continue it, run:'
              : 'Not measured yet for this run. If real training images of its classes are on this computer, run this in a terminal:',
          ),
          command,
        ),
  );
}

function chart({ points, rate }) {
  const synthetic = points.find(({ real }) => !real);
  const photos = points.filter(({ real }) => real).sort((a, b) => a.images - b.images);
  const counts = [...photos.map(({ images }) => images), ...(synthetic ? [synthetic.images] : [])];
  const low = Math.log(Math.min(...counts));
  const high = Math.log(Math.max(...counts));
  const narrow = innerWidth < 600;
  const W = narrow ? 340 : 700;
  const RIGHT = narrow ? 12 : 150;
  const end = W - RIGHT;
  const X = (n) =>
    LEFT + (high > low ? (Math.log(n) - low) / (high - low) : 0.5) * (W - LEFT - RIGHT);
  const Y = (v) => H - BOTTOM - v * (H - TOP - BOTTOM);
  const text = (x, y, content, props) => s('text', { x, y, ...props }, content);
  const marginLabel = (y, content) =>
    narrow
      ? text(end, y - 6, content, { class: 'ink halo', 'text-anchor': 'end' })
      : text(end + 12, y + 4, content, { class: 'ink' });
  /** @type {SVGElement[]} */
  const out = [text(0, 10, 'accuracy on real test images, %')];
  for (const v of [0, 0.25, 0.5, 0.75, 1])
    out.push(
      s('line', { class: v ? 'grid' : 'axis', x1: LEFT, x2: end, y1: Y(v), y2: Y(v) }),
      text(LEFT - 8, Y(v) + 4, 100 * v, { 'text-anchor': 'end' }),
    );
  for (const { images } of photos)
    out.push(text(X(images), H - BOTTOM + 18, num(images), { 'text-anchor': 'middle' }));
  out.push(
    text((LEFT + end) / 2, H - 6, 'number of real photos for training', {
      'text-anchor': 'middle',
    }),
  );
  if (photos.length)
    out.push(
      s('path', {
        class: 'student-line',
        d: `M${photos.map(({ images, accuracy }) => `${X(images).toFixed(1)} ${Y(accuracy).toFixed(1)}`).join('L')}`,
      }),
      ...photos.map(({ images, accuracy }) =>
        s('circle', { cx: X(images), cy: Y(accuracy), r: 4, fill: 'var(--ink)' }),
      ),
      marginLabel(Y(photos.at(-1).accuracy), `real ${percentage(photos.at(-1).accuracy)}`),
    );
  if (synthetic) {
    const y = Y(synthetic.accuracy);
    const offset =
      photos.length && Math.abs(y - Y(photos.at(-1).accuracy)) < 16 ? (narrow ? 24 : 16) : 0;
    out.push(
      s('line', { class: 'synthetic-line', x1: LEFT, x2: end, y1: y, y2: y }),
      marginLabel(
        y + offset,
        `${num(synthetic.images)} synthetic ${percentage(synthetic.accuracy)}`,
      ),
    );
    if (rate && !rate.bound)
      out.push(
        s('line', {
          class: 'synthetic-line',
          x1: X(rate.photos),
          x2: X(rate.photos),
          y1: y,
          y2: H - BOTTOM,
        }),
        s('circle', { cx: X(rate.photos), cy: y, r: 5, class: 'synthetic-dot' }),
        text(X(rate.photos) + 6, H - BOTTOM - 8, `≈ ${num(rate.photos)}`, { class: 'ink halo' }),
      );
  }
  const description = [
    ...photos.map(({ images, accuracy }) => `${num(images)} real photos ${pct(accuracy, 1)}`),
    synthetic && `${num(synthetic.images)} synthetic images ${pct(synthetic.accuracy, 1)}`,
  ]
    .filter(Boolean)
    .join(', ');
  return h(
    'div',
    { class: 'exchange' },
    s('svg', { viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': description }, out),
  );
}
