// Draws many identical dots by copying their pixels into one picture. Without a GPU, five thousand
// calls to drawImage take 60 milliseconds; this takes 5.

/** Stamps identical dots into one picture. */
export class SpriteRaster {
  /**
   * @param {number} reach Largest distance of a dot's edge from its center, in CSS pixels.
   * @param {(ctx: CanvasRenderingContext2D, kind: number, color: string) => void} draw Draws one
   *   dot around (0, 0).
   */
  constructor(reach, draw) {
    this.reach = reach;
    this.draw = draw;
    this.canvas = document.createElement('canvas');
    this.pixelRatio = 0;
    this.clear();
  }

  /** Forgets how dots look. */
  clear() {
    this.stamps = new Map();
  }

  /**
   * Starts an empty picture, with a margin around it for dots that are cut off.
   * @param {number} w CSS pixels.
   * @param {number} h CSS pixels.
   * @param {number} pixelRatio Device pixels per CSS pixel.
   */
  start(w, h, pixelRatio) {
    const margin = Math.ceil(this.reach * pixelRatio) + 1;
    const width = Math.ceil(w * pixelRatio) + 4 * margin;
    const height = Math.ceil(h * pixelRatio) + 4 * margin;
    if (
      pixelRatio !== this.pixelRatio ||
      width !== this.canvas.width ||
      height !== this.canvas.height
    ) {
      Object.assign(this.canvas, { width, height });
      this.pixelRatio = pixelRatio;
      this.margin = margin;
      this.width = width;
      this.height = height;
      this.image = new ImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
      this.clear();
    }
    this.pixels.fill(0);
  }

  /**
   * Stamps a dot, placed to within half a pixel; skips it if it lies outside.
   * @param {number} x
   * @param {number} y
   * @param {number} kind
   * @param {string} color
   * @param {number} [alpha]
   */
  stamp(x, y, kind, color, alpha = 1) {
    const {
      pixelRatio,
      margin,
      width,
      height,
      pixels,
      image: { data },
    } = this;
    const right = Math.round(2 * (x * pixelRatio + 2 * margin));
    const down = Math.round(2 * (y * pixelRatio + 2 * margin));
    const left = right >> 1;
    const top = down >> 1;
    if (left < margin || top < margin || left >= width - margin || top >= height - margin) return;
    const { offsets, rgba, partialCount } = this.#stampFor(kind, color, right & 1, down & 1);
    const origin = top * width + left;
    const firstSolid = alpha === 1 ? partialCount : 0;
    // fully covered pixels
    for (let k = firstSolid; k < offsets.length; k += 1) pixels[origin + offsets[k]] = rgba[k];
    const end = alpha === 1 ? partialCount : offsets.length;
    for (let k = 0; k < end; k += 1) {
      const o = 4 * (origin + offsets[k]);
      const a = (alpha * (rgba[k] >>> 24)) / 255;
      const backgroundAlpha = (data[o + 3] / 255) * (1 - a);
      const totalAlpha = a + backgroundAlpha;
      data[o] = ((rgba[k] & 255) * a + data[o] * backgroundAlpha) / totalAlpha;
      data[o + 1] = (((rgba[k] >>> 8) & 255) * a + data[o + 1] * backgroundAlpha) / totalAlpha;
      data[o + 2] = (((rgba[k] >>> 16) & 255) * a + data[o + 2] * backgroundAlpha) / totalAlpha;
      data[o + 3] = 255 * totalAlpha;
    }
  }

  /**
   * Draws the picture.
   * @param {CanvasRenderingContext2D} ctx
   */
  finish(ctx) {
    const { canvas, pixelRatio, margin, width, height } = this;
    canvas.getContext('2d').putImageData(this.image, 0, 0);
    ctx.drawImage(
      canvas,
      (-2 * margin) / pixelRatio,
      (-2 * margin) / pixelRatio,
      width / pixelRatio,
      height / pixelRatio,
    );
  }

  /**
   * A dot's pixels as offsets from its center, and their colors: first the `partialCount` pixels
   * that are partly covered, then those that are fully covered.
   */
  #stampFor(kind, color, fx, fy) {
    const variants = this.stamps.get(color) ?? this.stamps.set(color, []).get(color);
    const i = 4 * kind + 2 * fy + fx;
    return (variants[i] ??= this.#renderStamp(kind, color, fx, fy));
  }

  #renderStamp(kind, color, fx, fy) {
    const { margin, pixelRatio, width } = this;
    const side = 2 * margin + 1;
    const ctx = Object.assign(document.createElement('canvas'), {
      width: side,
      height: side,
    }).getContext('2d', { willReadFrequently: true });
    ctx.translate(margin + fx / 2, margin + fy / 2);
    ctx.scale(pixelRatio, pixelRatio);
    this.draw(ctx, kind, color);
    const pixels = [...new Uint32Array(ctx.getImageData(0, 0, side, side).data.buffer)].map(
      (rgba, i) => [(Math.floor(i / side) - margin) * width + (i % side) - margin, rgba],
    );
    const solidPixels = pixels.filter(([, rgba]) => rgba >>> 24 === 255);
    const partialPixels = pixels.filter(([, rgba]) => rgba >>> 24 && rgba >>> 24 < 255);
    const all = [...partialPixels, ...solidPixels];
    return {
      offsets: Int32Array.from(all, ([offset]) => offset),
      rgba: Uint32Array.from(all, ([, rgba]) => rgba),
      partialCount: partialPixels.length,
    };
  }
}
