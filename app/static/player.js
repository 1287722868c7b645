// What this viewer looks at: the newest state (Full), or the making of each iteration replayed at a walking pace
// (Watch, Slow). The engine knows nothing of it; the player reads what the run folder already holds.

export const PACE = { slow: 1430, watch: 500 }; // milliseconds a frame

export class Player {
  constructor(archive, speed, changed) {
    Object.assign(this, { archive, changed, cursor: null, timer: null });
    this.setSpeed(speed);
  }

  setSpeed(speed) {
    this.speed = speed in PACE ? speed : 'full';
    clearInterval(this.timer);
    this.timer = this.speed === 'full' ? null : setInterval(() => this.#tick(), PACE[this.speed]);
    if (this.speed === 'full') this.cursor = null;
    else this.cursor ??= { iteration: Math.max(0, (this.snap?.counters.iterations_done ?? 0) - 1), frame: 0 };
    if (this.snap) this.changed();
  }

  turnTo(snap) {
    const begun = !this.snap || this.snap.run !== snap.run || this.snap.attempt !== snap.attempt;
    this.snap = snap;
    if (begun && this.cursor) this.cursor = { iteration: Math.max(0, snap.counters.iterations_done - 1), frame: 0 };
  }

  /** Skip what has not been replayed yet. */
  goLive() {
    if (this.cursor) this.cursor = { iteration: this.snap.counters.iterations_done, frame: 0 };
    this.changed();
  }

  #tick() {
    if (!this.snap || document.visibilityState !== 'visible') return;
    const group = this.archive.group(this.cursor.iteration);
    if (!group) return; // being made, or not here yet
    // one more tick than frames: the finished batch is shown too
    if (this.cursor.frame < (group.frames?.length ?? 0)) this.cursor.frame += 1;
    else if (this.cursor.iteration + 1 < this.snap.counters.iterations_done || this.snap.making) this.cursor = { iteration: this.cursor.iteration + 1, frame: 0 };
    else return;
    this.changed();
  }

  /**
   * What to draw. `finished`: how many iterations count as finished; `making`: the group in the last place or null;
   * `cut`: null when live, else where curves and points end; `lag`: null, or {showing, live} as iterations.
   */
  frame() {
    const { snap, cursor } = this, done = snap.counters.iterations_done;
    const live = { finished: done, making: snap.making, cut: null, lag: null };
    if (!cursor || cursor.iteration >= done) return live;
    const group = this.archive.group(cursor.iteration), picture = group?.frames?.[cursor.frame];
    const atEnd = !snap.making && cursor.iteration === done - 1 && group && !picture;
    if (atEnd) return live;
    const steps = snap.recipe.generator_steps ?? snap.making?.steps;
    const share = picture ? (picture.step + 1) / steps : 1;
    const before = group?.images_before ?? 0, after = group?.images_after ?? before;
    return {
      finished: cursor.iteration,
      making: group && { ...group, whole: group, sheet: picture?.sheet ?? group.sheet, step: picture ? picture.step : steps - 1, steps, replay: true, early: Boolean(picture) },
      cut: { iteration: cursor.iteration, images: group ? before + (after - before) * share : Infinity, stored: before },
      lag: { showing: cursor.iteration, live: Math.min(done, snap.counters.iterations - 1) },
    };
  }
}
