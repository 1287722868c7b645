// Fetches groups (the images shown from one iteration) and samples (one image in full). They never
// change, so each is fetched once.

/** @import { Group, Past, Reference, Sample } from '../core/types.js' */
/** @import { Scale, Snapshot, StudentView } from '../core/types.js' */

const MAX_GROUPS = 40;
const MAX_MOMENTS = 400;
const MAX_SAMPLES = 200;
const MAX_POINTS = 400;
const MAX_SHEETS = 24;
const MAX_REQUESTS = 3;

/**
 * Decodes base64-encoded int16 hundredths.
 * @param {string} text
 * @returns {Float32Array}
 */
function hundredths(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return Float32Array.from(new Int16Array(bytes.buffer), (v) => v / 100);
}

/**
 * Finds the resolution of an iteration. Resolutions alternate; several processes share each turn.
 * @param {{ scales: Scale[], processes?: number }} snap
 * @param {number} [iteration]
 * @returns {Scale}
 */
export const scaleOf = (snap, iteration) =>
  snap.scales[Math.floor((iteration ?? 0) / (snap.processes ?? 1)) % snap.scales.length];

/**
 * Decodes a group: adds each tile's position on the sheet and its map.
 * @param {any} raw The server's response.
 * @param {{ scales: Scale[] }} snap
 * @returns {Group}
 */
export function decode(raw, snap) {
  const { h, w } = scaleOf(snap, raw.iteration);
  const map = raw.map ?? [h, w];
  const cells = map[0] * map[1];
  const cams = hundredths(raw.cam);
  const columnsUsed = new Map();
  const rows = new Map();
  const tiles = raw.tiles.map((tile, i) => {
    const col = columnsUsed.get(tile.c) ?? 0;
    columnsUsed.set(tile.c, col + 1);
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
 * Draws the maps onto a sheet, in translucent blue and each scaled to its own maximum. The sheet is
 * drawn once, when first requested.
 * @param {Group} displayed
 * @returns {string} A data URL; empty if there are no maps.
 */
export function camSheet(displayed) {
  const group = displayed.finishedGroup ?? displayed;
  const [h, w] = group.map;
  if (group.cams || !h) return group.cams ?? '';
  const canvas = Object.assign(document.createElement('canvas'), {
    width: group.columns * w,
    height: group.rows * h,
  });
  const ctx = canvas.getContext('2d');
  for (const tile of group.tiles) {
    const image = ctx.createImageData(w, h);
    const max = Math.max(...tile.cam, 1e-6);
    tile.cam.forEach((v, i) => image.data.set([70, 140, 255, (190 * Math.max(0, v)) / max], 4 * i));
    ctx.putImageData(image, tile.col * w, tile.row * h);
  }
  return (group.cams = canvas.toDataURL());
}

/** A bounded cache of immutable responses. */
export class ResponseCache {
  /**
   * @param {number} limit Number of responses kept.
   * @param {() => void} onChange Called when a missing response arrives.
   * @param {number} [maxRequests] Maximum number of concurrent requests.
   */
  constructor(limit, onChange, maxRequests = Infinity) {
    this.limit = limit;
    this.onChange = onChange;
    this.maxRequests = maxRequests;
    this.entries = new Map();
    this.pending = new Set();
    this.generation = 0;
    this.paused = false;
  }

  /** Removes all entries. */
  clear() {
    this.entries.clear();
    this.pending.clear();
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
    const entry = this.entries.get(key);
    if (entry) {
      this.entries.delete(key);
      this.entries.set(key, entry);
      return entry;
    } // newest last
    if (!this.paused && !this.pending.has(key) && this.pending.size < this.maxRequests) {
      this.pending.add(key);
      this.#fetch(key, url, prepare, this.generation);
    }
    return null;
  }

  async #fetch(key, url, prepare, generation) {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(8000) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const value = prepare(await response.json());
      if (generation !== this.generation) return;
      if (value.final === false)
        setTimeout(
          () =>
            generation === this.generation &&
            this.entries.get(key) === value &&
            this.entries.delete(key),
          1500,
        );
      this.entries.set(key, value);
      for (const oldest of this.entries.keys()) {
        if (this.entries.size <= this.limit) break;
        this.entries.delete(oldest);
      }
      this.pending.delete(key);
      this.onChange();
    } catch {
      // retry, but not right away
      setTimeout(() => generation === this.generation && this.pending.delete(key), 1500);
    }
  }
}

/** The immutable data of the current run. */
export class Archive {
  /**
   * @param {string} base
   * @param {() => void} onChange Called when something arrives.
   */
  constructor(base, onChange) {
    this.base = base;
    this.groups = new ResponseCache(MAX_GROUPS, onChange);
    this.moments = new ResponseCache(MAX_MOMENTS, onChange);
    this.samples = new ResponseCache(MAX_SAMPLES, onChange);
    // a browser has six connections per host, and the live view needs one
    this.columns = new ResponseCache(MAX_POINTS, onChange, MAX_REQUESTS);
    this.sheets = new ResponseCache(MAX_SHEETS, onChange, MAX_REQUESTS);
    this.views = new ResponseCache(40, onChange, MAX_REQUESTS);
    this.references = new ResponseCache(2, onChange);
  }

  /**
   * Clears the caches if another run is shown, if the run has been restarted, or if a new layout
   * has changed all positions.
   * @param {Snapshot} snap
   */
  update(snap) {
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
   * Pauses or resumes fetching. While paused, only what is already loaded is returned.
   * @param {boolean} paused
   */
  setPaused(paused) {
    for (const cache of [this.groups, this.moments, this.samples, this.columns, this.views])
      cache.paused = paused;
  }

  /**
   * What was known at each recorded step of a finished iteration, the last of which is its end.
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
   * Real examples: the run's own once it has started, and the bundled ones (of all classes) before.
   * They stay cached between runs.
   * @returns {Reference | null}
   */
  reference() {
    const { snap } = this;
    const hasStarted = snap.making || snap.counters.iterations_done > 0;
    if (snap.tested_on === 'synthetic') return null; // there are no real images
    // examples are bundled for this data set only
    if (!hasStarted && snap.teacher.data !== 'fashion-mnist') return null;
    if (!hasStarted && !snap.class_indices.every((index, c) => index === c)) return null;
    const path = hasStarted ? this.path + this.id : '-/0';
    return this.references.get(
      `${path} ${hasStarted && snap.layout}`,
      `${this.base}/kg/reference/${path}`,
      (raw) => ({ ...raw, rows: Math.ceil(raw.n / raw.columns) }),
    );
  }
}
