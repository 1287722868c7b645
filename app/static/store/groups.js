// Groups (the shown images of one iteration) and samples (one image in full), fetched once and
// kept: they never change.

const KEPT_GROUPS = 40;
const KEPT_MOMENTS = 400;
const KEPT_SAMPLES = 200;
const KEPT_POINTS = 400;
const KEPT_SHEETS = 24;
const AT_ONCE = 3;

/** base64 of int16 (hundredths) → numbers. */
function hundredths(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return Float32Array.from(new Int16Array(bytes.buffer), (v) => v / 100);
}

/** The resolution of an iteration: they take turns. {side, batch, h, w, target, budget} */
export const scaleOf = (snap, iteration) => snap.scales[(iteration ?? 0) % snap.scales.length];

/** The group as the page uses it: each tile knows its place on the sheet and its map. */
export function decode(raw, snap) {
  const { h, w } = scaleOf(snap, raw.iteration);
  const map = raw.map ?? [h, w];
  const cells = map[0] * map[1];
  const cams = hundredths(raw.cam);
  const seen = new Map();
  const rows = new Map();
  const tiles = raw.tiles.map((tile, i) => {
    const col = seen.get(tile.c) ?? 0;
    seen.set(tile.c, col + 1);
    if (!rows.has(tile.c)) rows.set(tile.c, rows.size);
    return {
      ...tile,
      col,
      row: rows.get(tile.c),
      cam: cams.subarray(i * cells, (i + 1) * cells),
      x: raw.x?.[i],
      y: raw.y?.[i],
      z: raw.z?.[i],
    };
  });
  return { ...raw, map, tiles, byPos: new Map(tiles.map((t) => [t.pos, t])) };
}

/**
 * A sheet of the maps as translucent blue, each image scaled to its own maximum. Made when first
 * asked for; empty where there are none.
 */
export function camSheet(shown) {
  const group = shown.whole ?? shown;
  const [h, w] = group.map; // of a replayed frame: the finished group
  if (group.cams || !h) return group.cams ?? '';
  const canvas = Object.assign(document.createElement('canvas'), {
    width: group.columns * w,
    height: group.rows * h,
  });
  const ink = canvas.getContext('2d');
  for (const tile of group.tiles) {
    const image = ink.createImageData(w, h);
    const top = Math.max(...tile.cam, 1e-6);
    tile.cam.forEach((v, i) => image.data.set([70, 140, 255, (190 * Math.max(0, v)) / top], 4 * i));
    ink.putImageData(image, tile.col * w, tile.row * h);
  }
  return (group.cams = canvas.toDataURL());
}

/**
 * A bounded memory of immutable answers. `get` gives the answer or null; `changed` is called when a
 * missing one arrives.
 */
export class Shelf {
  constructor(limit, changed, most = Infinity) {
    Object.assign(this, { limit, changed, most, held: new Map(), away: new Set(), generation: 0 });
  }

  clear() {
    this.held.clear();
    this.away.clear();
    this.generation += 1;
  }

  get(key, url, prepare) {
    const found = this.held.get(key);
    if (found) {
      this.held.delete(key);
      this.held.set(key, found);
      return found;
    } // newest last
    if (!this.held_back && !this.away.has(key) && this.away.size < this.most) {
      this.away.add(key);
      this.#fetch(key, url, prepare, this.generation);
    }
    return null;
  }

  async #fetch(key, url, prepare, generation) {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(8000) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const answer = prepare(await response.json());
      if (generation !== this.generation) return;
      if (answer.final === false)
        setTimeout(
          () =>
            generation === this.generation &&
            this.held.get(key) === answer &&
            this.held.delete(key),
          1500,
        );
      this.held.set(key, answer);
      for (const old of this.held.keys()) {
        if (this.held.size <= this.limit) break;
        this.held.delete(old);
      }
      this.away.delete(key);
      this.changed();
    } catch {
      // asked again, but not at once
      setTimeout(() => generation === this.generation && this.away.delete(key), 1500);
    }
  }
}

/** Everything immutable about the current run. */
export class Archive {
  constructor(base, changed) {
    this.base = base;
    this.groups = new Shelf(KEPT_GROUPS, changed);
    this.moments = new Shelf(KEPT_MOMENTS, changed);
    this.samples = new Shelf(KEPT_SAMPLES, changed);
    // a browser has six connections in all: the live view needs one
    this.columns = new Shelf(KEPT_POINTS, changed, AT_ONCE);
    this.sheets = new Shelf(KEPT_SHEETS, changed, AT_ONCE);
    this.views = new Shelf(40, changed, AT_ONCE);
    this.references = new Shelf(2, changed);
  }

  /**
   * Another run, the same one begun anew, or a layout that has been fitted and gives everything its
   * place: forget.
   */
  turnTo(snap) {
    const path = `${encodeURIComponent(snap.run ?? '-')}/${snap.run ? snap.attempt : 0}`;
    const id = snap.id ? `?id=${encodeURIComponent(snap.id)}` : '';
    if (path !== this.path || id !== this.id || snap.layout !== this.snap.layout)
      for (const shelf of [
        this.groups,
        this.moments,
        this.samples,
        this.columns,
        this.sheets,
        this.views,
      ])
        shelf.clear();
    Object.assign(this, { path, id, snap });
  }

  /** Give only what is here, and ask for nothing. */
  hold(on) {
    for (const shelf of [this.groups, this.moments, this.samples, this.columns, this.views])
      shelf.held_back = on;
  }

  /** What was known at the kept steps of a finished iteration: {steps}, the last one its end. */
  moment(iteration) {
    if (iteration < 0 || iteration >= this.snap.counters.iterations_done) return null;
    return this.moments.get(
      iteration,
      `${this.base}/kg/moment/${this.path}/${iteration}${this.id}`,
      (raw) => raw,
    );
  }

  /**
   * Every image of a finished iteration as columns: c, x, y, z, p and the parts of its loss; the
   * position is the row.
   */
  points(iteration) {
    return this.columns.get(
      iteration,
      `${this.base}/kg/points/${this.path}/${iteration}${this.id}`,
      (raw) => raw,
    );
  }

  /** Every image of a finished iteration on one sheet. */
  tiles(iteration) {
    return this.sheets.get(
      iteration,
      `${this.base}/kg/tiles/${this.path}/${iteration}${this.id}`,
      (raw) => raw,
    );
  }

  /** What the student makes of some images at a test, counted from 1. */
  studentView(test) {
    return this.views.get(
      test,
      `${this.base}/kg/student-view/${this.path}/${test}${this.id}`,
      (raw) => raw,
    );
  }

  group(iteration) {
    if (iteration < 0 || iteration >= this.snap.counters.iterations_done) return null;
    return this.groups.get(
      iteration,
      `${this.base}/kg/group/${this.path}/${iteration}${this.id}`,
      (raw) => decode(raw, this.snap),
    );
  }

  sample(iteration, pos) {
    if (iteration < 0 || iteration >= this.snap.counters.iterations_done) return null;
    return this.samples.get(
      `${iteration}:${pos}`,
      `${this.base}/kg/sample/${this.path}/${iteration}/${pos}${this.id}`,
      (raw) => ({ ...raw, cam: Float32Array.from(raw.cam.flat()) }),
    );
  }

  /**
   * Real examples: the run's own once it has begun, the bundled ones (of all classes) before. Kept
   * from run to run.
   */
  reference() {
    const { snap } = this;
    const begun = snap.making || snap.counters.iterations_done > 0;
    if (snap.tested_on === 'synthetic') return null; // there are no real images
    // examples are bundled for that set alone
    if (!begun && snap.teacher.data !== 'fashion-mnist') return null;
    if (!begun && !snap.class_indices.every((index, c) => index === c)) return null;
    const path = begun ? this.path + this.id : '-/0';
    return this.references.get(
      `${path} ${begun && snap.layout}`,
      `${this.base}/kg/reference/${path}`,
      (raw) => ({ ...raw, rows: Math.ceil(raw.n / raw.columns) }),
    );
  }
}
