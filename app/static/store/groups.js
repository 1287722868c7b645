// Groups (the shown images of one iteration) and samples (one image in full), which never change
// and are fetched once.

/** @import { Group, Past, Reference, Sample } from '../core/types.js' */
/** @import { Scale, Snapshot, StudentView } from '../core/types.js' */

const KEPT_GROUPS = 40;
const KEPT_MOMENTS = 400;
const KEPT_SAMPLES = 200;
const KEPT_POINTS = 400;
const KEPT_SHEETS = 24;
const AT_ONCE = 3;

/**
 * Decodes base64 of int16, in hundredths.
 * @param {string} text
 * @returns {Float32Array}
 */
function hundredths(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return Float32Array.from(new Int16Array(bytes.buffer), (v) => v / 100);
}

/**
 * Finds the resolution of an iteration; resolutions alternate.
 * @param {{ scales: Scale[] }} snap
 * @param {number} [iteration]
 * @returns {Scale}
 */
export const scaleOf = (snap, iteration) => snap.scales[(iteration ?? 0) % snap.scales.length];

/**
 * Decodes a group: each tile gets its place on the sheet and its map.
 * @param {any} raw The server's response.
 * @param {{ scales: Scale[] }} snap
 * @returns {Group}
 */
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
 * Draws the maps on a sheet in translucent blue, each scaled to its own maximum, when first
 * requested.
 * @param {Group} shown
 * @returns {string} A data URL; empty if there are no maps.
 */
export function camSheet(shown) {
  const group = shown.whole ?? shown;
  const [h, w] = group.map; // for a replayed frame: the finished group
  if (group.cams || !h) return group.cams ?? '';
  const canvas = Object.assign(document.createElement('canvas'), {
    width: group.columns * w,
    height: group.rows * h,
  });
  const ctx = canvas.getContext('2d');
  for (const tile of group.tiles) {
    const image = ctx.createImageData(w, h);
    const top = Math.max(...tile.cam, 1e-6);
    tile.cam.forEach((v, i) => image.data.set([70, 140, 255, (190 * Math.max(0, v)) / top], 4 * i));
    ctx.putImageData(image, tile.col * w, tile.row * h);
  }
  return (group.cams = canvas.toDataURL());
}

/** A bounded cache of immutable responses. */
export class AnswerCache {
  /**
   * @param {number} limit Number of responses kept.
   * @param {() => void} changed Called when a missing response arrives.
   * @param {number} [most] Maximum number of concurrent requests.
   */
  constructor(limit, changed, most = Infinity) {
    this.limit = limit;
    this.changed = changed;
    this.most = most;
    this.held = new Map();
    this.away = new Set();
    this.generation = 0;
    this.paused = false;
  }

  /** Forgets everything. */
  clear() {
    this.held.clear();
    this.away.clear();
    this.generation += 1;
  }

  /**
   * Returns the response, or null while fetching it.
   * @template T
   * @param {string | number} key
   * @param {string} url
   * @param {(raw: any) => T} prepare
   * @returns {T | null}
   */
  get(key, url, prepare) {
    const found = this.held.get(key);
    if (found) {
      this.held.delete(key);
      this.held.set(key, found);
      return found;
    } // newest last
    if (!this.paused && !this.away.has(key) && this.away.size < this.most) {
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
      // retry, but not right away
      setTimeout(() => generation === this.generation && this.away.delete(key), 1500);
    }
  }
}

/** Everything immutable about the current run. */
export class Archive {
  /**
   * @param {string} base
   * @param {() => void} changed Called when something arrives.
   */
  constructor(base, changed) {
    this.base = base;
    this.groups = new AnswerCache(KEPT_GROUPS, changed);
    this.moments = new AnswerCache(KEPT_MOMENTS, changed);
    this.samples = new AnswerCache(KEPT_SAMPLES, changed);
    // a browser has six connections per host, and the live view needs one
    this.columns = new AnswerCache(KEPT_POINTS, changed, AT_ONCE);
    this.sheets = new AnswerCache(KEPT_SHEETS, changed, AT_ONCE);
    this.views = new AnswerCache(40, changed, AT_ONCE);
    this.references = new AnswerCache(2, changed);
  }

  /**
   * Forgets everything if this is another run, the same run restarted, or a new layout has been
   * fitted and all positions have changed.
   * @param {Snapshot} snap
   */
  turnTo(snap) {
    const path = `${encodeURIComponent(snap.run ?? '-')}/${snap.run ? snap.attempt : 0}`;
    const id = snap.id ? `?id=${encodeURIComponent(snap.id)}` : '';
    if (path !== this.path || id !== this.id || snap.layout !== this.snap.layout)
      for (const cache of [
        this.groups,
        this.moments,
        this.samples,
        this.columns,
        this.sheets,
        this.views,
      ])
        cache.clear();
    this.path = path;
    this.id = id;
    this.snap = snap;
  }

  /**
   * Stops or resumes fetching; while stopped, returns only what is loaded.
   * @param {boolean} on
   */
  hold(on) {
    for (const cache of [this.groups, this.moments, this.samples, this.columns, this.views])
      cache.paused = on;
  }

  /**
   * What was known at the recorded steps of a finished iteration; the last one is its end.
   * @param {number} iteration
   * @returns {{ steps: Past[] } | null}
   */
  moment(iteration) {
    if (iteration < 0 || iteration >= this.snap.counters.iterations_done) return null;
    return this.moments.get(
      iteration,
      `${this.base}/kg/moment/${this.path}/${iteration}${this.id}`,
      (raw) => raw,
    );
  }

  /**
   * Every image of a finished iteration as columns: c, x, y, z, p and its loss terms; rows are
   * positions.
   * @param {number} iteration
   * @returns {Record<string, number[]> | null}
   */
  points(iteration) {
    return this.columns.get(
      iteration,
      `${this.base}/kg/points/${this.path}/${iteration}${this.id}`,
      (raw) => raw,
    );
  }

  /**
   * Every image of a finished iteration on one sheet.
   * @param {number} iteration
   * @returns {{ sheet: string, columns: number, rows: number } | null}
   */
  tiles(iteration) {
    return this.sheets.get(
      iteration,
      `${this.base}/kg/tiles/${this.path}/${iteration}${this.id}`,
      (raw) => raw,
    );
  }

  /**
   * The student's view of some images at a test.
   * @param {number} test Counted from 1.
   * @returns {StudentView | null}
   */
  studentView(test) {
    return this.views.get(
      test,
      `${this.base}/kg/student-view/${this.path}/${test}${this.id}`,
      (raw) => raw,
    );
  }

  /**
   * The shown images of a finished iteration.
   * @param {number} iteration
   * @returns {Group | null}
   */
  group(iteration) {
    if (iteration < 0 || iteration >= this.snap.counters.iterations_done) return null;
    return this.groups.get(
      iteration,
      `${this.base}/kg/group/${this.path}/${iteration}${this.id}`,
      (raw) => decode(raw, this.snap),
    );
  }

  /**
   * One image in full.
   * @param {number} iteration
   * @param {number} pos
   * @returns {Sample | null}
   */
  sample(iteration, pos) {
    if (iteration < 0 || iteration >= this.snap.counters.iterations_done) return null;
    return this.samples.get(
      `${iteration}:${pos}`,
      `${this.base}/kg/sample/${this.path}/${iteration}/${pos}${this.id}`,
      (raw) => ({ ...raw, cam: Float32Array.from(raw.cam.flat()) }),
    );
  }

  /**
   * Real examples: the run's own once it has started, the bundled ones (of all classes) before.
   * They are kept between runs.
   * @returns {Reference | null}
   */
  reference() {
    const { snap } = this;
    const begun = snap.making || snap.counters.iterations_done > 0;
    if (snap.tested_on === 'synthetic') return null; // there are no real images
    // examples are bundled for this data set only
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
