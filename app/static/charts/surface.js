// The key region in 3-D: the CAM is a solid surface, the target a translucent one. Evidence is
// missing wherever the target is on top.

import { resolveColors } from '../core/dom.js';
import { CONFIG, layout, loadPlotly } from '../core/plotly.js';

/** @import { Scale } from '../core/types.js' */

// the CAM often rises far above the target; higher values are clipped, and the caption says so
const MAX_HEIGHT = 2;

/** The key region as a surface in three dimensions. */
export class Surface {
  /**
   * @param {HTMLElement} host
   * @param {string} script Address of Plotly.
   */
  constructor(host, script) {
    this.host = host;
    this.script = script;
  }

  /**
   * Shows or hides it.
   * @param {boolean} on
   */
  show(on) {
    this.host.hidden = !on;
  }

  /**
   * Draws the target, and the map if there is one.
   * @param {Scale} scale
   * @param {ArrayLike<number> | null} cam
   * @param {string} name Name of the map.
   * @returns {Promise<void>}
   */
  async draw({ h, w, target }, cam, name) {
    let Plotly;
    try {
      Plotly = await loadPlotly(this.script);
    } catch {
      return;
    }
    if (this.host.hidden) return;
    const [lowColor, highColor, targetColor, lineColor, mutedColor] = resolveColors(this.host, [
      '--map-0',
      '--map-1',
      '--hinge',
      '--line',
      '--muted',
    ]);
    const rows = (at) =>
      Array.from({ length: h }, (_, r) => Array.from({ length: w }, (_, c) => at(r * w + c)));
    const axis = (title, more) => ({
      title: { text: title, font: { size: 11, color: mutedColor } },
      gridcolor: lineColor,
      zerolinecolor: lineColor,
      showbackground: false,
      tickfont: { size: 10, color: mutedColor },
      ...more,
    });
    const flat = target.flat();
    /** @type {Record<string, any>[]} */
    const traces = [
      {
        type: 'surface',
        z: rows((i) => flat[i]),
        name: 'target',
        opacity: 0.55,
        showscale: false,
        colorscale: [
          [0, targetColor],
          [1, targetColor],
        ],
        hovertemplate: 'target %{z:.2f}<extra></extra>',
      },
    ];
    if (cam)
      traces.push({
        type: 'surface',
        z: rows((i) => Math.min(MAX_HEIGHT, cam[i])),
        customdata: rows((i) => cam[i]),
        name,
        showscale: false,
        cmin: 0,
        cmax: 1,
        colorscale: [
          [0, lowColor],
          [1, highColor],
        ],
        hovertemplate: `${name} %{customdata:.2f}<extra></extra>`,
      });
    await Plotly.react(
      this.host,
      traces,
      layout(this.host, {
        scene: {
          xaxis: axis('column', { showticklabels: false }),
          yaxis: axis('row', { autorange: 'reversed', showticklabels: false }),
          zaxis: axis('', { range: [-1, MAX_HEIGHT + 0.05] }),
          camera: { eye: { x: 1.2, y: 1.2, z: 0.7 }, center: { x: 0, y: 0, z: -0.12 } },
          aspectmode: 'manual',
          aspectratio: { x: 1, y: 1, z: 0.75 },
        },
        annotations: [
          {
            text: `blue: ${name}, clipped at ${MAX_HEIGHT} · orange: target`,
            xref: 'paper',
            yref: 'paper',
            x: 0,
            y: 0,
            showarrow: false,
            font: { color: mutedColor, size: 11 },
          },
        ],
      }),
      CONFIG,
    );
  }
}
