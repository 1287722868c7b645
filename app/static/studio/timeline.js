// The timeline of the whole run, from which any moment can be revisited, live or afterward. It
// counts generator steps. Ticks below the line are tests, marks above it are events. Each jumps
// back to its moment.

import { h, num, pct, setChildren, s, setAttr } from '../core/dom.js';
import { momentAt } from '../store/moments.js';

/** @import { PanelState } from '../core/types.js' */
/** @import { Player } from '../store/player.js' */

const MIN_TICK_DISTANCE = 3; // pixels
const MIN_SIGN_DISTANCE = 16; // pixels; marks closer than this are merged
const ICONS = {
  start: 'M3 2h2v12H3zM14 2v12L6 8z',
  'iteration-back': 'M8 2v12L1 8zM15 2v12L8 8z',
  back: 'M11 2v12L3 8zM12 2h2v12h-2z',
  play: 'M3 1.5v13L14 8z',
  pause: 'M3 2h4v12H3zM9 2h4v12H9z',
  on: 'M5 2v12l8-6zM2 2h2v12H2z',
  'iteration-on': 'M8 2v12l7-6zM1 2v12l7-6z',
  end: 'M11 2h2v12h-2zM2 2v12l8-6z',
};
const SIGNS = {
  warmup: '▸',
  reborn: '↻',
  half: '½',
  best: '★',
  full: '■',
  paused: 'Ⅱ',
  resumed: '▸',
  stop: '■',
  failed: '!',
  warning: '!',
};

const icon = (name) =>
  s('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, s('path', { d: ICONS[name] }));

/** The timeline. */
export class Timeline {
  /**
   * @param {HTMLElement} view
   * @param {Player} player
   */
  constructor(view, player) {
    this.player = player;
    /** @type {HTMLElement} */
    this.root = view.querySelector('.timeline');
    const button = (name, tip, action) =>
      h(
        'button',
        {
          type: 'button',
          class: 'btn icon',
          'data-do': name,
          'aria-label': tip.split('.')[0],
          'data-tip': tip,
          onclick: action,
        },
        icon(name),
      );
    this.buttons = {
      start: button('start', 'Go to the start. Key: Home', () => player.goToStart()),
      earlier: button('iteration-back', 'Back one iteration. Keys: Shift + left arrow', () =>
        player.stepIterations(-1),
      ),
      back: button('back', 'Back one frame. Key: left arrow', () => player.stepFrames(-1)),
      play: button('play', '', () => player.toggle()),
      forward: button('on', 'Forward one frame. Key: right arrow', () => player.stepFrames(1)),
      later: button('iteration-on', 'Forward one iteration. Keys: Shift + right arrow', () =>
        player.stepIterations(1),
      ),
      end: button('end', '', () => player.goLive()),
    };
    this.fill = h('i', { class: 't-made' });
    this.knob = h('i', { class: 't-knob' });
    this.marks = h('div', { class: 't-marks' });
    this.track = h(
      'div',
      {
        class: 't-track',
        role: 'slider',
        tabindex: 0,
        'aria-label': 'Moment in the run',
        'aria-valuemin': 0,
      },
      h('i', { class: 't-line' }),
      this.fill,
      this.knob,
    );
    setChildren(
      this.root,
      h('div', { class: 't-moves' }, Object.values(this.buttons)),
      h('div', { class: 't-ribbon' }, this.track, this.marks),
    );
    this.track.addEventListener('pointerdown', (e) => this.#onPointerDown(e));
    this.track.addEventListener('keydown', (e) => {
      if (['PageUp', 'PageDown'].includes(e.key)) {
        e.preventDefault();
        this.jump(e.key === 'PageUp' ? 1 : -1);
      }
    });
    new ResizeObserver(() => {
      this.key = '';
      if (this.state) this.draw(this.state);
    }).observe(this.track);
  }

  /**
   * Draws the line.
   * @param {PanelState} state With the live snapshot: the line covers the whole run.
   */
  draw(state) {
    this.state = state;
    const { snapshot: snap, moment: frame } = state;
    const { player } = this;
    const { counters } = snap;
    const { replaying, playing, ended } = player;
    setAttr(this.root, 'hidden', snap.phase === 'empty');
    this.total = Math.max(1, counters.generator_steps);
    this.live = Math.min(this.total, counters.generator_step);
    this.at = frame.past ? frame.past.at : this.live;
    const share = (at) => `${(100 * Math.min(1, at / this.total)).toFixed(3)}%`;
    this.fill.style.width = share(this.live);
    this.knob.style.left = share(this.at);
    this.root.classList.toggle('replaying', replaying);
    setAttr(this.track, 'aria-valuemax', this.live);
    setAttr(this.track, 'aria-valuenow', this.at);
    setAttr(
      this.track,
      'aria-valuetext',
      frame.past
        ? `iteration ${num(frame.past.iteration + 1)}, ${frame.past.step >= player.steps ? 'done' : `generator step ${num(frame.past.step + 1)}`}`
        : ended
          ? 'end'
          : 'live',
    );
    const isEmpty = !counters.iterations_done;
    const { start, earlier, back, play, forward, later, end } = this.buttons;
    for (const button of [start, earlier, back, play]) setAttr(button, 'disabled', isEmpty);
    for (const button of [forward, later]) setAttr(button, 'disabled', !replaying);
    const showsPause = playing || (!replaying && !ended);
    if (this.showsPause !== showsPause) {
      this.showsPause = showsPause;
      setChildren(play, icon(showsPause ? 'pause' : 'play'));
    }
    setAttr(play, 'aria-label', showsPause ? 'Freeze this view' : 'Play');
    setAttr(
      play,
      'data-tip',
      `${showsPause ? 'Freeze this view. Training continues.' : `Replay how each batch was made, ${replaying ? 'from here' : 'from the beginning'}, at the selected speed.`} Replay reads from the run folder and never slows training.${ended || replaying ? ' Key: space' : ''}`,
    );
    setAttr(end, 'aria-label', ended ? 'End of the run' : 'Live');
    setAttr(end, 'data-tip', ended ? 'Go to the end of the run. Key: End' : 'Go live. Key: End');
    setAttr(end, 'disabled', !replaying);
    this.#drawMarks(snap);
  }

  /** Draws marks and ticks, but only when they change. */
  #drawMarks(snap) {
    const { at, accuracy } = snap.curve;
    const width = this.track.clientWidth;
    const description =
      snap.tested_on === 'synthetic' ? 'agrees with the teacher on' : 'correct on';
    const key = JSON.stringify([
      snap.run,
      snap.attempt,
      width,
      at.length,
      at.at(-1),
      snap.marks,
      snap.best,
      this.total,
    ]);
    if (key === this.key || !width) return;
    this.key = key;
    const tests = at.map((step, i) => [
      step,
      'test',
      `Test after ${num(snap.curve.images[i])} images: ${description} ${pct(accuracy[i], 1)} of the test images.`,
    ]);
    const best =
      snap.best && at.length > 1
        ? [
            [
              snap.best[0],
              'best',
              `Best test: ${description} ${pct(snap.best[1], 1)} of the test images.`,
            ],
          ]
        : [];
    this.events = [...tests, ...snap.marks, ...best].sort((a, b) => a[0] - b[0]);
    let nextX = Infinity; // of several ticks in one place, keep the last, as the chart does
    const visibleTicks = tests
      .toReversed()
      .filter(([step]) => {
        const x = (step / this.total) * width;
        const isKept = nextX - x >= MIN_TICK_DISTANCE;
        if (isKept) nextX = x;
        return isKept;
      })
      .reverse();
    setChildren(
      this.marks,
      [...visibleTicks, ...this.#mergeMarks([...snap.marks, ...best], width)].map(
        ([step, kind, text]) =>
          h(
            'button',
            {
              type: 'button',
              class: `t-mark ${kind}`,
              tabindex: kind === 'test' ? -1 : 0,
              style: { left: `${((100 * step) / this.total).toFixed(3)}%` },
              'aria-label': text,
              'data-tip': text,
              onclick: () => this.#seekTo(step),
            },
            SIGNS[kind] ?? '',
          ),
      ),
    );
  }

  /** Merges marks that would overlap into the last one, whose text covers them all. */
  #mergeMarks(marks, width) {
    const groups = [];
    for (const mark of marks.sort((a, b) => a[0] - b[0])) {
      const group = groups.at(-1);
      if (group && ((mark[0] - group.at(-1)[0]) / this.total) * width < MIN_SIGN_DISTANCE)
        group.push(mark);
      else groups.push([mark]);
    }
    return groups.map((group) => [
      group.at(-1)[0],
      group.at(-1)[1],
      group.map(([, , text]) => text).join(' '),
    ]);
  }

  #seekTo(step) {
    this.player.seek(momentAt(step, this.player.steps));
  }

  /**
   * Moves to the event after this moment (1) or before it (−1).
   * @param {number} by
   */
  jump(by) {
    const event =
      by > 0
        ? this.events?.find(([at]) => at > this.at)
        : this.events?.findLast(([at]) => at < this.at);
    if (event) this.#seekTo(event[0]);
    else if (by > 0) this.player.goLive();
    else this.player.goToStart();
  }

  #onPointerDown(event) {
    if (event.button || !this.state?.snapshot.counters.iterations_done) return;
    const { left, width } = this.track.getBoundingClientRect();
    const { track } = this;
    const onMove = (e) =>
      this.player.seek(
        momentAt(
          Math.round(Math.min(1, Math.max(0, (e.clientX - left) / width)) * this.total),
          this.player.steps,
        ),
        true,
      );
    const onUp = () => {
      track.removeEventListener('pointermove', onMove);
      track.removeEventListener('pointerup', onUp);
      track.removeEventListener('pointercancel', onUp);
    };
    track.setPointerCapture(event.pointerId);
    track.addEventListener('pointermove', onMove);
    track.addEventListener('pointerup', onUp);
    track.addEventListener('pointercancel', onUp);
    onMove(event);
  }
}
