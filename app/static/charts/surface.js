// The key region in 3-D: the CAM as a solid surface, the target as a translucent one. Where the
// target is on top, evidence is missing.

import { colours } from '../core/dom.js';
import { CONFIG, layout, plotly } from '../core/plotly.js';

/** @import { Scale } from '../core/types.js' */

// the CAM often rises far above the target; higher values are clipped, and the caption says so
const CEILING = 2;

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
      Plotly = await plotly(this.script);
    } catch {
      return;
    }
    if (this.host.hidden) return;
    const [low, high, veil, line, muted] = colours(this.host, [
      '--map-0',
      '--map-1',
      '--hinge',
      '--line',
      '--muted',
    ]);
    const rows = (at) =>
      Array.from({ length: h }, (_, r) => Array.from({ length: w }, (_, c) => at(r * w + c)));
    const axis = (title, more) => ({
      title: { text: title, font: { size: 11, color: muted } },
      gridcolor: line,
      zerolinecolor: line,
      showbackground: false,
      tickfont: { size: 10, color: muted },
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
          [0, veil],
          [1, veil],
        ],
        hovertemplate: 'target %{z:.2f}<extra></extra>',
      },
    ];
    if (cam)
      traces.push({
        type: 'surface',
        z: rows((i) => Math.min(CEILING, cam[i])),
        customdata: rows((i) => cam[i]),
        name,
        showscale: false,
        cmin: 0,
        cmax: 1,
        colorscale: [
          [0, low],
          [1, high],
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
          zaxis: axis('', { range: [-1, CEILING + 0.05] }),
          camera: { eye: { x: 1.2, y: 1.2, z: 0.7 }, center: { x: 0, y: 0, z: -0.12 } },
          aspectmode: 'manual',
          aspectratio: { x: 1, y: 1, z: 0.75 },
        },
        annotations: [
          {
            text: `blue: ${name}, clipped at ${CEILING} · orange: target`,
            xref: 'paper',
            yref: 'paper',
            x: 0,
            y: 0,
            showarrow: false,
            font: { color: muted, size: 11 },
          },
        ],
      }),
      CONFIG,
    );
  }
}
