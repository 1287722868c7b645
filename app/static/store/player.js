// Which moment of the run this viewer sees, and the playback speed. The engine is not involved:
// moments are read from the run folder. A moment is {iteration, step}, where `step` is the last
// completed generator step, counted from 0; if it equals the number of steps, the batch is
// finished. Null means live. The page and its address count from 1.

/** @import { Frame, Moment, Snapshot } from '../core/types.js' */
/** @import { Archive } from './groups.js' */

export const FRAME_MS = { slow: 1430, watch: 500, full: 150 }; // milliseconds per frame
const LOAD_TIMEOUT_MS = 1500; // anything that takes longer is shown as missing
const DRAG_PAUSE_MS = 90; // while the slider is dragged, fetch only where it rests this long

/** The moment of the run that this viewer sees. */
export class Player {
  /**
   * @param {Archive} archive
   * @param {string} speed
   * @param {(moved?: boolean) => void} onChange Called to redraw. `moved` means that another
   *   moment is shown.
   * @param {Moment | null} [current] The moment to start at.
   */
  constructor(archive, speed, onChange, current = null) {
    this.archive = archive;
    this.onChange = onChange;
    this.speed = speed in FRAME_MS ? speed : 'full';
    /** @type {Moment | null} */
    this.moment = null;
    this.requestedMoment = current;
    this.playing = false;
    this.following = speed !== 'full';
    this.movedAt = 0;
    /** @type {((moment: Moment | null) => void) | null} Called when the moment has changed. */
    this.onMomentChange = null;
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
  get iterationsDone() {
    return this.snap.counters.iterations_done;
  }

  /**
   * Has the run ended?
   * @returns {boolean}
   */
  get ended() {
    return !['starting', 'running', 'paused', 'stopping'].includes(this.snap.phase);
  }

  /**
   * The moment to write into the address, or null.
   * @returns {Moment | null}
   */
  get addressMoment() {
    if (this.playing || !this.replaying) return null;
    const { iteration, step } = this.moment;
    return step < this.steps ? { iteration, step } : { iteration };
  }

  /**
   * Is a moment earlier than the newest one shown?
   * @returns {boolean}
   */
  get replaying() {
    return this.moment != null && this.moment.iteration < this.iterationsDone;
  }

  /**
   * Takes a new snapshot.
   * @param {Snapshot} snap
   */
  update(snap) {
    const isOtherRun =
      this.snap &&
      (this.snap.run !== snap.run ||
        this.snap.id !== snap.id ||
        this.snap.attempt !== snap.attempt);
    this.snap = snap;
    if (isOtherRun) this.goLive();
    if (this.requestedMoment && snap.counters.iterations) {
      const { requestedMoment } = this;
      this.requestedMoment = null;
      if (requestedMoment.iteration < this.iterationsDone) this.seek(requestedMoment);
      else this.#reportMoment();
    }
    if (this.following && !this.moment && !this.ended) this.#followLive();
  }

  /**
   * Changes the speed. Slow and Watch replay each batch of a live run as it comes; Full returns to
   * the newest state.
   * @param {string} speed
   */
  setSpeed(speed) {
    this.speed = speed;
    const ended = !this.snap || this.ended;
    this.following = speed !== 'full' && !ended;
    if (!this.snap || ended) return this.#restartTimer();
    if (this.following && (!this.moment || this.playing)) this.#followLive();
    else if (!this.following && this.playing) this.goLive();
    this.#restartTimer();
  }

  #followLive() {
    this.#go(this.moment ?? { iteration: Math.max(0, this.iterationsDone - 1), step: 0 }, true);
  }

  /**
   * Stops playback at a moment.
   * @param {Moment} moment
   * @param {boolean} [isDragging] Many more calls will follow.
   */
  seek({ iteration, step = this.steps }, isDragging = false) {
    this.following = false;
    if (
      iteration >= this.iterationsDone ||
      (this.ended &&
        !this.snap.making &&
        iteration === this.iterationsDone - 1 &&
        step >= this.steps)
    )
      return this.goLive();
    if (isDragging) {
      this.archive.setPaused(true);
      clearTimeout(this.dragTimer);
      this.dragTimer = setTimeout(() => {
        this.archive.setPaused(false);
        this.onChange();
      }, DRAG_PAUSE_MS);
    }
    this.#go(
      { iteration: Math.max(0, iteration), step: Math.max(0, Math.min(this.steps, step)) },
      false,
    );
  }

  /** Returns to the newest state. */
  goLive() {
    this.following = this.speed !== 'full' && !this.ended;
    this.#go(this.following ? { iteration: this.iterationsDone, step: 0 } : null, this.following);
  }

  /**
   * Plays or stops. When live, this stops at the newest finished batch; after the run, it plays
   * from the beginning.
   */
  toggle() {
    if (this.playing) {
      this.following = false;
      return this.#go(this.replaying ? this.moment : this.#end(), false);
    }
    this.following = false;
    if (!this.iterationsDone) return;
    if (this.replaying) this.#go(this.moment, true);
    else if (this.ended) this.#go({ iteration: 0, step: 0 }, true);
    else this.#go(this.#end(), false);
  }

  #end() {
    return { iteration: this.iterationsDone - 1, step: this.steps };
  }

  /**
   * Moves by one recorded frame.
   * @param {number} by 1 or −1.
   */
  stepFrames(by) {
    const from = this.#currentMoment();
    const recordedSteps = this.recordedSteps(from.iteration);
    if (!recordedSteps) return; // not loaded yet
    const shownStep = this.#recordedStep(from, recordedSteps);
    const next =
      by > 0
        ? recordedSteps.find((step) => step > shownStep)
        : recordedSteps.findLast((step) => step < shownStep);
    if (next != null) this.seek({ iteration: from.iteration, step: next });
    else if (by > 0) this.seek({ iteration: from.iteration + 1, step: 0 });
    else if (from.iteration > 0) this.seek({ iteration: from.iteration - 1 });
  }

  /**
   * Moves to the end of the previous or next iteration.
   * @param {number} by 1 or −1.
   */
  stepIterations(by) {
    const iteration = this.#currentMoment().iteration + by;
    if (iteration < 0) this.goToStart();
    else this.seek({ iteration });
  }

  #currentMoment() {
    return this.replaying
      ? this.moment
      : this.ended
        ? this.#end()
        : { iteration: this.iterationsDone, step: 0 };
  }

  /** Moves to the start of the run. */
  goToStart() {
    if (this.iterationsDone) this.seek({ iteration: 0, step: 0 });
  }

  /**
   * Lists the recorded steps of an iteration, including its end.
   * @param {number} iteration
   * @returns {number[] | null} Null until they arrive.
   */
  recordedSteps(iteration) {
    if (iteration >= this.iterationsDone) return [0];
    const group = this.archive.group(iteration);
    return group && [...(group.frames ?? []).map((frame) => frame.step), this.steps];
  }

  #recordedStep(/** @type {Moment} */ { step }, recordedSteps) {
    return recordedSteps.findLast((k) => k <= step) ?? recordedSteps[0];
  }

  #go(moment, playing) {
    const moved =
      moment?.iteration !== this.moment?.iteration || moment?.step !== this.moment?.step;
    if (moment?.iteration !== this.moment?.iteration) this.movedAt = performance.now();
    this.moment = moment;
    this.playing = playing;
    this.#restartTimer();
    this.#reportMoment();
    if (this.snap) this.onChange(moved);
  }

  #restartTimer() {
    clearInterval(this.timer);
    this.timer = this.playing ? setInterval(() => this.#tick(), FRAME_MS[this.speed]) : null;
  }

  #reportMoment() {
    if (!this.requestedMoment) this.onMomentChange?.(this.addressMoment);
  }

  #tick() {
    if (
      document.visibilityState !== 'visible' ||
      !this.moment ||
      this.moment.iteration >= this.iterationsDone
    )
      return; // still in progress
    const recordedSteps = this.recordedSteps(this.moment.iteration);
    if (!recordedSteps && performance.now() - this.movedAt < LOAD_TIMEOUT_MS) return;
    const next = recordedSteps?.find(
      (step) => step > this.#recordedStep(this.moment, recordedSteps),
    );
    if (next != null) return this.#go({ ...this.moment, step: next }, true);
    const iteration = this.moment.iteration + 1;
    if (iteration < this.iterationsDone || this.following) this.#go({ iteration, step: 0 }, true);
    else if (this.ended) this.#go(null, false);
    else this.goLive();
  }

  /**
   * Computes what to draw.
   * @returns {Frame}
   */
  frame() {
    const { snap, iterationsDone, steps } = this;
    if (!this.replaying)
      return { finishedIterations: iterationsDone, current: snap.making, past: null, lag: null };
    const { iteration, step } = this.moment;
    const group = this.archive.group(iteration);
    const momentData = this.archive.moment(iteration);
    const recordedSteps = this.recordedSteps(iteration) ?? [step];
    const shownStep = this.#recordedStep(this.moment, recordedSteps);
    const recordedFrame = group?.frames?.find((frame) => frame.step === shownStep);
    if (this.playing) this.archive.group(iteration + 1);
    const past = momentData?.steps.findLast((known) => known.step <= shownStep) ?? {
      step: shownStep,
      at: iteration * steps + shownStep,
    };
    return {
      finishedIterations: iteration,
      past: { ...past, iteration },
      waiting: (!group || !momentData) && performance.now() - this.movedAt < LOAD_TIMEOUT_MS,
      current: group && {
        ...group,
        finishedGroup: group,
        sheet: recordedFrame?.sheet ?? group.sheet,
        step: recordedFrame ? shownStep : steps - 1,
        steps,
        replay: true,
        unfinished: Boolean(recordedFrame),
      },
      lag: { showing: iteration, live: Math.min(iterationsDone, snap.counters.iterations - 1) },
    };
  }
}
