// Plotly, served by the app and loaded when the first chart needs it.

import { resolveColors } from './dom.js';

let loading = null;

/**
 * Loads Plotly once.
 * @param {string} url The script's address, with a version so that browsers can cache it.
 * @returns {Promise<any>}
 */
export function loadPlotly(url) {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = url;
    script.onload = () => resolve(globalThis.Plotly);
    script.onerror = () => {
      loading = null;
      reject(new Error('Could not load plotly.min.js.'));
    };
    document.head.append(script);
  });
  return loading;
}

/** Plotly's "Share" button would send the chart to Plotly's server. */
export const CONFIG = {
  responsive: true,
  displaylogo: false,
  showSendToCloud: false,
  displayModeBar: false,
};

/**
 * Makes a layout in the page's colors. Plotly writes into layouts, so each chart gets its own.
 * @param {HTMLElement} host
 * @param {Record<string, any>} overrides
 * @returns {Record<string, any>}
 */
export function layout(host, overrides) {
  const [textColor, lineColor, background] = resolveColors(host, ['--ink', '--line', '--surface']);
  const font = { color: textColor, size: 11, family: getComputedStyle(host).fontFamily };
  return {
    paper_bgcolor: 'rgba(0,0,0,0)',
    plot_bgcolor: 'rgba(0,0,0,0)',
    font,
    uirevision: 'const',
    showlegend: false,
    autosize: true,
    margin: { l: 0, r: 0, t: 0, b: 0 },
    hoverlabel: { bgcolor: background, bordercolor: lineColor, font },
    ...overrides,
  };
}
