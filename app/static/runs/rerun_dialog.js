// A dialog to rerun a run with one switch flipped. It lists the run's switches and exactly what
// each would change. A click starts the new run.

import { close, open } from '../core/dialog.js';
import { h, setChildren, setAttr, setText } from '../core/dom.js';
import { requestJson } from '../core/server.js';

/**
 * Opens the dialog to rerun a run with one switch flipped.
 * @param {string} base
 * @param {string} name
 * @param {(run: string) => void} onDone Called with the name of the new run.
 * @returns {Promise<void>}
 */
export async function openRerunDialog(base, name, onDone) {
  const list = h('div', { class: 'c-list' }, h('p', { class: 'muted' }, 'Loading switches…'));
  const errorMessage = h('p', { class: 'error-message', role: 'alert', hidden: true });
  open(
    `Rerun ${name} with one switch flipped`,
    [],
    h(
      'p',
      { class: 'muted' },
      'Everything else stays the same, including seed and budget. The new run starts right away, and everyone sees it.',
    ),
    errorMessage,
    list,
  );
  const showError = (text) => {
    setText(errorMessage, text);
    setAttr(errorMessage, 'hidden', !text);
  };
  try {
    const { switches } = await requestJson(`${base}/kg/switches/${encodeURIComponent(name)}`, {
      cache: 'no-cache',
    });
    const parts = [...new Set(switches.map((rerunSwitch) => rerunSwitch.part))];
    setChildren(
      list,
      parts.map((part) =>
        h(
          'section',
          { 'aria-label': part },
          h('h3', null, part),
          switches.filter((rerunSwitch) => rerunSwitch.part === part).map(row),
        ),
      ),
    );
  } catch (error) {
    setChildren(list);
    showError(error.message);
  }

  function row(rerunSwitch) {
    return h(
      'button',
      {
        type: 'button',
        class: 'c-item',
        'data-switch': rerunSwitch.id,
        disabled: Boolean(rerunSwitch.refused),
        onclick: () => start(rerunSwitch),
      },
      h('b', null, rerunSwitch.title),
      h('span', null, rerunSwitch.refused || rerunSwitch.words),
      rerunSwitch.tip && h('small', { class: 'muted' }, rerunSwitch.tip),
    );
  }

  async function start(rerunSwitch) {
    if (isStarting) return;
    isStarting = true;
    showError('');
    setAttr(list, 'aria-busy', 'true');
    try {
      const { run } = await requestJson(`${base}/kg/flip/${encodeURIComponent(name)}`, {
        method: 'POST',
        body: JSON.stringify({ switch: rerunSwitch.id }),
      });
      close();
      onDone(run);
    } catch (error) {
      showError(error.message);
      errorMessage.scrollIntoView({ block: 'nearest' });
    }
    setAttr(list, 'aria-busy', null);
    isStarting = false;
  }
}
let isStarting = false; // one start at a time
