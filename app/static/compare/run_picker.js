// A dialog to select the runs to compare: a searchable list in which each run is a toggle button.

import { close, open } from '../core/dialog.js';
import { h, num, pct, setChildren, setAttr, setText } from '../core/dom.js';
import { requestJson } from '../core/server.js';
import { stateName } from '../runs/run_row.js';

/**
 * Opens a dialog to choose runs.
 * @param {string} base
 * @param {string[]} names The runs selected so far.
 * @param {number} max
 * @param {(names: string[]) => void} onDone Called at the end with the runs in the order in which
 *   they were selected.
 * @returns {Promise<void>}
 */
export async function openRunPicker(base, names, max, onDone) {
  let selection = [...names];
  let runs = [];
  const search = h('input', {
    type: 'search',
    'aria-label': 'Search runs',
    placeholder: 'Search by name, recipe, teacher, or note',
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
        onDone(selection);
      },
    },
    'Compare',
  );
  open('Choose two to four runs', [done], search, count, list);
  search.focus();
  search.addEventListener('input', update);
  try {
    const response = await requestJson(`${base}/kg/runs`, { cache: 'no-cache' });
    runs = response.runs.filter((run) => run.state !== 'damaged');
    selection = selection.filter((name) => runs.some((run) => run.name === name));
    setChildren(list, runs.map(row));
    update();
  } catch (error) {
    setChildren(list, h('p', { class: 'error-message', role: 'alert' }, error.message));
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
          selection = selection.includes(run.name)
            ? selection.filter((n) => n !== run.name)
            : [...selection, run.name].slice(0, max);
          update();
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

  function update() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const run of runs) {
      const node = rows.get(run.name);
      const isSelected = selection.includes(run.name);
      const text =
        `${run.name} ${run.title} ${run.teacher} ${run.note} ${stateName(run.state)}`.toLowerCase();
      setAttr(node, 'hidden', !words.every((word) => text.includes(word)));
      setAttr(node, 'aria-pressed', String(isSelected));
      setAttr(node, 'disabled', !isSelected && selection.length >= max);
      setText(node.querySelector('.tick'), isSelected ? 'ABCD'[selection.indexOf(run.name)] : '');
    }
    setText(
      count,
      runs.length
        ? `${selection.length} selected${selection.length >= max ? ' (the maximum)' : ''}`
        : 'No runs yet. Start one in the Studio.',
    );
    setAttr(done, 'disabled', !selection.length);
  }
}
