// Many equal dots, copied pixel by pixel into one picture. Without a GPU, five thousand calls of
// drawImage take 60 milliseconds; this takes 5.

/** Stamps equal dots into one picture. */
export class SpriteRaster {
  /**
   * @param {number} reach Largest distance of a dot's edge from its center, in CSS pixels.
   * @param {(ctx: CanvasRenderingContext2D, kind: number, colour: string) => void} draw Draws one
   *   dot around (0, 0).
   */
  constructor(reach, draw) {
    this.reach = reach;
    this.draw = draw;
    this.canvas = document.createElement('canvas');
    this.dense = 0;
    this.clear();
  }

  /** Forgets how dots look. */
  clear() {
    this.kept = new Map();
  }

  /**
   * Starts an empty picture, with a margin around it for dots that are cut off.
   * @param {number} w CSS pixels.
   * @param {number} h CSS pixels.
   * @param {number} dense Device pixels per CSS pixel.
   */
  begin(w, h, dense) {
    const margin = Math.ceil(this.reach * dense) + 1;
    const width = Math.ceil(w * dense) + 4 * margin;
    const height = Math.ceil(h * dense) + 4 * margin;
    if (dense !== this.dense || width !== this.canvas.width || height !== this.canvas.height) {
      Object.assign(this.canvas, { width, height });
      this.dense = dense;
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
   * Stamps a dot, to half a pixel; skips it if it lies outside.
   * @param {number} x
   * @param {number} y
   * @param {number} kind
   * @param {string} colour
   * @param {number} [alpha]
   */
  put(x, y, kind, colour, alpha = 1) {
    const {
      dense,
      margin,
      width,
      height,
      pixels,
      image: { data },
    } = this;
    const right = Math.round(2 * (x * dense + 2 * margin));
    const down = Math.round(2 * (y * dense + 2 * margin));
    const left = right >> 1;
    const top = down >> 1;
    if (left < margin || top < margin || left >= width - margin || top >= height - margin) return;
    const { at, rgba, soft } = this.#stamp(kind, colour, right & 1, down & 1);
    const origin = top * width + left;
    const whole = alpha === 1 ? soft : 0;
    // fully covered pixels
    for (let k = whole; k < at.length; k += 1) pixels[origin + at[k]] = rgba[k];
    const end = alpha === 1 ? soft : at.length;
    for (let k = 0; k < end; k += 1) {
      const o = 4 * (origin + at[k]);
      const a = (alpha * (rgba[k] >>> 24)) / 255;
      const under = (data[o + 3] / 255) * (1 - a);
      const both = a + under;
      data[o] = ((rgba[k] & 255) * a + data[o] * under) / both;
      data[o + 1] = (((rgba[k] >>> 8) & 255) * a + data[o + 1] * under) / both;
      data[o + 2] = (((rgba[k] >>> 16) & 255) * a + data[o + 2] * under) / both;
      data[o + 3] = 255 * both;
    }
  }

  /**
   * Draws the picture.
   * @param {CanvasRenderingContext2D} ctx
   */
  end(ctx) {
    const { canvas, dense, margin, width, height } = this;
    canvas.getContext('2d').putImageData(this.image, 0, 0);
    ctx.drawImage(
      canvas,
      (-2 * margin) / dense,
      (-2 * margin) / dense,
      width / dense,
      height / dense,
    );
  }

  /**
   * A dot's pixels as offsets from its center, and colors: first the `soft` ones that are partly
   * covered, then those that are fully covered.
   */
  #stamp(kind, colour, fx, fy) {
    const own = this.kept.get(colour) ?? this.kept.set(colour, []).get(colour);
    const i = 4 * kind + 2 * fy + fx;
    return (own[i] ??= this.#made(kind, colour, fx, fy));
  }

  #made(kind, colour, fx, fy) {
    const { margin, dense, width } = this;
    const side = 2 * margin + 1;
    const ctx = Object.assign(document.createElement('canvas'), {
      width: side,
      height: side,
    }).getContext('2d', { willReadFrequently: true });
    ctx.translate(margin + fx / 2, margin + fy / 2);
    ctx.scale(dense, dense);
    this.draw(ctx, kind, colour);
    const found = [...new Uint32Array(ctx.getImageData(0, 0, side, side).data.buffer)].map(
      (rgba, i) => [(Math.floor(i / side) - margin) * width + (i % side) - margin, rgba],
    );
    const solid = found.filter(([, rgba]) => rgba >>> 24 === 255);
    const soft = found.filter(([, rgba]) => rgba >>> 24 && rgba >>> 24 < 255);
    const all = [...soft, ...solid];
    return {
      at: Int32Array.from(all, ([at]) => at),
      rgba: Uint32Array.from(all, ([, rgba]) => rgba),
      soft: soft.length,
    };
  }
}
