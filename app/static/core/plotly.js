// Plotly, served by the app and loaded when the first chart needs it. Each chart gets its own
// layouts, because Plotly writes into them.

import { colours } from './dom.js';

let loading = null;

/**
 * Loads Plotly once.
 * @param {string} address The script's address, with a version so that browsers can cache it.
 * @returns {Promise<any>}
 */
export function plotly(address) {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = address;
    script.onload = () => resolve(globalThis.Plotly);
    script.onerror = () => {
      loading = null;
      reject(new Error('plotly.min.js did not arrive'));
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
 * @param {Record<string, any>} more
 * @returns {Record<string, any>}
 */
export function layout(host, more) {
  const [ink, line, surface] = colours(host, ['--ink', '--line', '--surface']);
  const font = { color: ink, size: 11, family: getComputedStyle(host).fontFamily };
  return {
    paper_bgcolor: 'rgba(0,0,0,0)',
    plot_bgcolor: 'rgba(0,0,0,0)',
    font,
    uirevision: 'const',
    showlegend: false,
    autosize: true,
    margin: { l: 0, r: 0, t: 0, b: 0 },
    hoverlabel: { bgcolor: surface, bordercolor: line, font },
    ...more,
  };
}
