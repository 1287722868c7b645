// Reruns a run with one switch flipped: lists the run's switches, each with exactly what it would
// change. Clicking one starts the new run.

import { close, open } from '../core/dialog.js';
import { h, put, setAttr, setText } from '../core/dom.js';

/**
 * Opens the dialog to rerun a run with one switch flipped.
 * @param {string} base
 * @param {string} name
 * @param {(run: string) => void} done Called with the name of the new run.
 * @returns {Promise<void>}
 */
export async function flip(base, name, done) {
  const list = h('div', { class: 'c-list' }, h('p', { class: 'muted' }, 'Loading switches…'));
  const wrong = h('p', { class: 'wrong', role: 'alert', hidden: true });
  open(
    `Rerun ${name} with one switch flipped`,
    [],
    h(
      'p',
      { class: 'muted' },
      'Everything else stays the same, including seed and budget. The new run starts right away, and everyone sees it.',
    ),
    wrong,
    list,
  );
  const say = (text) => {
    setText(wrong, text);
    setAttr(wrong, 'hidden', !text);
  };
  try {
    const answer = await fetch(`${base}/kg/switches/${encodeURIComponent(name)}`, {
      cache: 'no-cache',
    });
    if (!answer.ok) throw new Error(await answer.text());
    const { switches } = await answer.json();
    const parts = [...new Set(switches.map((one) => one.part))];
    put(
      list,
      parts.map((part) =>
        h(
          'section',
          { 'aria-label': part },
          h('h3', null, part),
          switches.filter((one) => one.part === part).map(row),
        ),
      ),
    );
  } catch (error) {
    put(list);
    say(error instanceof TypeError ? 'The server is not responding.' : error.message);
  }

  function row(one) {
    return h(
      'button',
      {
        type: 'button',
        class: 'c-item',
        'data-switch': one.id,
        disabled: Boolean(one.refused),
        onclick: () => start(one),
      },
      h('b', null, one.title),
      h('span', null, one.refused || one.words),
      one.tip && h('small', { class: 'muted' }, one.tip),
    );
  }

  async function start(one) {
    if (setting) return;
    setting = true;
    say('');
    setAttr(list, 'aria-busy', 'true');
    try {
      const answer = await fetch(`${base}/kg/flip/${encodeURIComponent(name)}`, {
        method: 'POST',
        body: JSON.stringify({ switch: one.id }),
      });
      if (!answer.ok) throw new Error(await answer.text());
      const { run } = await answer.json();
      close();
      done(run);
    } catch (error) {
      say(error instanceof TypeError ? 'The server is not responding.' : error.message);
      wrong.scrollIntoView({ block: 'nearest' });
    }
    setAttr(list, 'aria-busy', null);
    setting = false;
  }
}
let setting = false; // one start at a time
