// Selects the runs to compare: a searchable list with pictures, in which each run is a toggle
// button.

import { close, open } from '../core/dialog.js';
import { h, num, pct, put, setAttr, setText } from '../core/dom.js';
import { stateName } from '../runs/run_row.js';

/**
 * Opens a dialog to choose runs.
 * @param {string} base
 * @param {string[]} names The runs selected so far.
 * @param {number} most
 * @param {(names: string[]) => void} chosen Called at the end with the runs in the order in which
 *   they were selected.
 * @returns {Promise<void>}
 */
export async function pick(base, names, most, chosen) {
  let now = [...names];
  let runs = [];
  const search = h('input', {
    type: 'search',
    'aria-label': 'Search runs',
    placeholder: 'Search by name, recipe, teacher or note',
    autocomplete: 'off',
    spellcheck: 'false',
  });
  const list = h('div', { class: 'c-list' });
  const count = h('p', { class: 'muted', role: 'status' });
  const rows = new Map();
  const done = h(
    'button',
    {
      type: 'button',
      class: 'btn small primary',
      onclick: () => {
        close();
        chosen(now);
      },
    },
    'Compare',
  );
  open('Choose two to four runs', [done], search, count, list);
  search.focus();
  search.addEventListener('input', show);
  try {
    const answer = await fetch(`${base}/kg/runs`, { cache: 'no-cache' });
    if (!answer.ok) throw new Error(await answer.text());
    runs = (await answer.json()).runs.filter((run) => run.state !== 'damaged');
    now = now.filter((name) => runs.some((run) => run.name === name));
    put(list, runs.map(row));
    show();
  } catch (error) {
    put(
      list,
      h(
        'p',
        { class: 'wrong', role: 'alert' },
        error instanceof TypeError ? 'The server is not responding.' : error.message,
      ),
    );
  }

  function row(run) {
    const { score } = run;
    const result = score
      ? `${pct(score.share, 1)} ${score.real ? `of ${num(score.n)} real images` : 'agreement'}`
      : 'not tested yet';
    const node = h(
      'button',
      {
        type: 'button',
        class: 'c-item',
        'data-run': run.name,
        onclick: () => {
          now = now.includes(run.name)
            ? now.filter((n) => n !== run.name)
            : [...now, run.name].slice(0, most);
          show();
        },
      },
      h('i', { class: 'tick', 'aria-hidden': 'true' }),
      run.picture && run.state !== 'going'
        ? h('img', {
            alt: '',
            loading: 'lazy',
            src: `${base}/kg/picture/${encodeURIComponent(run.name)}/${run.picture}`,
          })
        : h('span', { class: 'thumb' }),
      h(
        'span',
        null,
        h('b', null, run.name),
        h(
          'small',
          { class: 'muted' },
          [run.title, run.teacher, result, stateName(run.state)].join(' · '),
        ),
        run.note && h('small', { class: 'muted' }, run.note),
      ),
    );
    rows.set(run.name, node);
    return node;
  }

  function show() {
    const asked = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const run of runs) {
      const node = rows.get(run.name);
      const on = now.includes(run.name);
      const text =
        `${run.name} ${run.title} ${run.teacher} ${run.note} ${stateName(run.state)}`.toLowerCase();
      setAttr(node, 'hidden', !asked.every((word) => text.includes(word)));
      setAttr(node, 'aria-pressed', String(on));
      setAttr(node, 'disabled', !on && now.length >= most);
      setText(node.querySelector('.tick'), on ? 'ABCD'[now.indexOf(run.name)] : '');
    }
    setText(
      count,
      runs.length
        ? `${now.length} selected${now.length >= most ? ` (the maximum)` : ''}`
        : 'No runs yet. Start one in the Studio.',
    );
    setAttr(done, 'disabled', !now.length);
  }
}
