// Which moment of the run this viewer looks at, and the playback speed. The engine knows nothing
// about it: moments are read from the run folder.  A moment is {iteration, step}: the last
// completed generator step, counted from 0; a step equal to their number means the finished batch.
// No moment (null) means live. The page and its address count both from 1.

/** @import { Frame, Moment, Snapshot } from '../core/types.js' */
/** @import { Archive } from './groups.js' */

export const PACE = { slow: 1430, watch: 500, full: 150 }; // milliseconds per frame
const PATIENCE = 1500; // what does not arrive in time is shown as missing
const DRAG = 90; // while the slider moves, fetch only where it rests this long

/** Which moment this viewer looks at. */
export class Player {
  /**
   * @param {Archive} archive
   * @param {string} speed
   * @param {(moved?: boolean) => void} changed Called to redraw; `moved`: to another moment.
   * @param {Moment | null} [at] The moment to start at.
   */
  constructor(archive, speed, changed, at = null) {
    this.archive = archive;
    this.changed = changed;
    this.speed = speed in PACE ? speed : 'full';
    /** @type {Moment | null} */
    this.at = null;
    this.asked = at;
    this.playing = false;
    this.following = speed !== 'full';
    this.since = 0;
    /** @type {((moment: Moment | null) => void) | null} Called when the moment has changed. */
    this.told = null;
  }

  /**
   * Generator steps per iteration.
   * @returns {number}
   */
  get steps() {
    return this.snap.recipe.generator_steps ?? 1;
  }

  /**
   * Iterations done.
   * @returns {number}
   */
  get done() {
    return this.snap.counters.iterations_done;
  }

  /**
   * Has the run ended?
   * @returns {boolean}
   */
  get over() {
    return !['starting', 'running', 'paused', 'stopping'].includes(this.snap.phase);
  }

  /**
   * The moment that the address should name, or null.
   * @returns {Moment | null}
   */
  get moment() {
    if (this.playing || !this.replaying) return null;
    const { iteration, step } = this.at;
    return step < this.steps ? { iteration, step } : { iteration };
  }

  /**
   * Is a moment earlier than the newest one shown?
   * @returns {boolean}
   */
  get replaying() {
    return this.at != null && this.at.iteration < this.done;
  }

  /**
   * Takes a new snapshot.
   * @param {Snapshot} snap
   */
  turnTo(snap) {
    const other =
      this.snap &&
      (this.snap.run !== snap.run ||
        this.snap.id !== snap.id ||
        this.snap.attempt !== snap.attempt);
    this.snap = snap;
    if (other) this.goLive();
    if (this.asked && snap.counters.iterations) {
      const { asked } = this;
      this.asked = null;
      if (asked.iteration < this.done) this.seek(asked);
      else this.#tell();
    }
    if (this.following && !this.at && !this.over) this.#follow();
  }

  /**
   * Changes the speed. Slow and Watch replay each batch of a live run as it comes; Full returns to
   * the newest state.
   * @param {string} speed
   */
  setSpeed(speed) {
    this.speed = speed;
    const over = !this.snap || this.over;
    this.following = speed !== 'full' && !over;
    if (!this.snap || over) return this.#wind();
    if (this.following && (!this.at || this.playing)) this.#follow();
    else if (!this.following && this.playing) this.goLive();
    this.#wind();
  }

  #follow() {
    this.#go(this.at ?? { iteration: Math.max(0, this.done - 1), step: 0 }, true);
  }

  /**
   * Stops at a moment.
   * @param {Moment} moment
   * @param {boolean} [dragged] Many more calls will follow.
   */
  seek({ iteration, step = this.steps }, dragged = false) {
    this.following = false;
    if (
      iteration >= this.done ||
      (this.over && !this.snap.making && iteration === this.done - 1 && step >= this.steps)
    )
      return this.goLive();
    if (dragged) {
      this.archive.hold(true);
      clearTimeout(this.dragging);
      this.dragging = setTimeout(() => {
        this.archive.hold(false);
        this.changed();
      }, DRAG);
    }
    this.#go(
      { iteration: Math.max(0, iteration), step: Math.max(0, Math.min(this.steps, step)) },
      false,
    );
  }

  /** Returns to the newest state. */
  goLive() {
    this.following = this.speed !== 'full' && !this.over;
    this.#go(this.following ? { iteration: this.done, step: 0 } : null, this.following);
  }

  /**
   * Plays or stops. When live, stops at the newest finished batch; at the end of a run, plays from
   * its beginning.
   */
  toggle() {
    if (this.playing) {
      this.following = false;
      return this.#go(this.replaying ? this.at : this.#end(), false);
    }
    this.following = false;
    if (!this.done) return;
    if (this.replaying) this.#go(this.at, true);
    else if (this.over) this.#go({ iteration: 0, step: 0 }, true);
    else this.#go(this.#end(), false);
  }

  #end() {
    return { iteration: this.done - 1, step: this.steps };
  }

  /**
   * Moves by one recorded frame.
   * @param {number} by 1 or −1.
   */
  frames(by) {
    const from = this.#now();
    const kept = this.kept(from.iteration);
    if (!kept) return; // not loaded yet
    const shown = this.#shown(from, kept);
    const next = by > 0 ? kept.find((step) => step > shown) : kept.findLast((step) => step < shown);
    if (next != null) this.seek({ iteration: from.iteration, step: next });
    else if (by > 0) this.seek({ iteration: from.iteration + 1, step: 0 });
    else if (from.iteration > 0) this.seek({ iteration: from.iteration - 1 });
  }

  /**
   * Moves to the end of the previous or next iteration.
   * @param {number} by 1 or −1.
   */
  iterations(by) {
    const iteration = this.#now().iteration + by;
    if (iteration < 0) this.start();
    else this.seek({ iteration });
  }

  #now() {
    return this.replaying ? this.at : this.over ? this.#end() : { iteration: this.done, step: 0 };
  }

  /** Moves to the start of the run. */
  start() {
    if (this.done) this.seek({ iteration: 0, step: 0 });
  }

  /**
   * Lists the recorded steps of an iteration, and its end.
   * @param {number} iteration
   * @returns {number[] | null} Null until they arrive.
   */
  kept(iteration) {
    if (iteration >= this.done) return [0];
    const group = this.archive.group(iteration);
    return group && [...(group.frames ?? []).map((frame) => frame.step), this.steps];
  }

  #shown(/** @type {Moment} */ { step }, kept) {
    return kept.findLast((k) => k <= step) ?? kept[0];
  }

  #go(at, playing) {
    const moved = at?.iteration !== this.at?.iteration || at?.step !== this.at?.step;
    if (at?.iteration !== this.at?.iteration) this.since = performance.now();
    this.at = at;
    this.playing = playing;
    this.#wind();
    this.#tell();
    if (this.snap) this.changed(moved);
  }

  #wind() {
    clearInterval(this.timer);
    this.timer = this.playing ? setInterval(() => this.#tick(), PACE[this.speed]) : null;
  }

  #tell() {
    if (!this.asked) this.told?.(this.moment);
  }

  #tick() {
    if (document.visibilityState !== 'visible' || !this.at || this.at.iteration >= this.done)
      return; // still in progress
    const kept = this.kept(this.at.iteration);
    if (!kept && performance.now() - this.since < PATIENCE) return;
    const next = kept?.find((step) => step > this.#shown(this.at, kept));
    if (next != null) return this.#go({ ...this.at, step: next }, true);
    const iteration = this.at.iteration + 1;
    if (iteration < this.done || this.following) this.#go({ iteration, step: 0 }, true);
    else if (this.over) this.#go(null, false);
    else this.goLive();
  }

  /**
   * Computes what to draw.
   * @returns {Frame}
   */
  frame() {
    const { snap, done, steps } = this;
    if (!this.replaying) return { finished: done, making: snap.making, past: null, lag: null };
    const { iteration, step } = this.at;
    const group = this.archive.group(iteration);
    const moment = this.archive.moment(iteration);
    const kept = this.kept(iteration) ?? [step];
    const shown = this.#shown(this.at, kept);
    const picture = group?.frames?.find((frame) => frame.step === shown);
    if (this.playing) this.archive.group(iteration + 1);
    const past = moment?.steps.findLast((known) => known.step <= shown) ?? {
      step: shown,
      at: iteration * steps + shown,
    };
    return {
      finished: iteration,
      past: { ...past, iteration },
      waiting: (!group || !moment) && performance.now() - this.since < PATIENCE,
      making: group && {
        ...group,
        whole: group,
        sheet: picture?.sheet ?? group.sheet,
        step: picture ? shown : steps - 1,
        steps,
        replay: true,
        early: Boolean(picture),
      },
      lag: { showing: iteration, live: Math.min(done, snap.counters.iterations - 1) },
    };
  }
}
