// The teacher card in the sidebar: the teacher's size and accuracy, and the size of its student in
// comparison.

import { num, pct, setAttr, setText } from '../core/dom.js';

/** @import { Scale, Student, Teacher } from '../core/types.js' */

/** 74962 → "75k". */
const shortNumber = (n) =>
  n == null
    ? '–'
    : n < 1e6
      ? `${Math.round(n / 1e3)}k`
      : n < 1e9
        ? `${(n / 1e6).toFixed(1)}M`
        : `${(n / 1e9).toFixed(1)}G`;

/**
 * Draws the teacher's card.
 * @param {{ teacher: Teacher, scales: Scale[], student?: Student }} snap A snapshot, or the parts
 *   of it that are known when a teacher is selected.
 */
export function teacherCard({ teacher, scales, student = {} }) {
  const root = document.getElementById('kg-teacher');
  const setField = (name, text) => setText(root.querySelector(`[data-t=${name}]`), text);
  setField('title', teacher.title);
  setField('accuracy', teacher.accuracy == null ? '' : pct(teacher.accuracy, 1));
  setAttr(root.querySelector('p'), 'hidden', teacher.accuracy == null);
  setField('n', num(teacher.n_test));
  setAttr(root.querySelector('h2'), 'title', teacher.licence || null);
  setField(
    'input',
    [teacher.side, teacher.side, ...(teacher.channels > 1 ? [teacher.channels] : [])].join(' × '),
  );
  setField(
    'map',
    scales.length > 1
      ? scales.map((s) => `${s.w}²`).join(', ')
      : `${teacher.map[0]} × ${teacher.map[1]}`,
  );
  for (const name of ['parameters', 'macs']) {
    setField(name, shortNumber(teacher[name]));
    setField(`student-${name}`, shortNumber(student[name]));
  }
  const ratio = (name) => (student[name] / teacher[name]).toPrecision(2);
  setAttr(
    root.querySelector('[data-t=student]'),
    'data-tip',
    student.macs && teacher.macs
      ? `${student.name}: ${num(student.parameters)} parameters (${ratio('parameters')} of the teacher’s), ${num(student.macs)} multiply-accumulates per image (${ratio('macs')}), ${num(student.bytes / 1024)} KB (${ratio('bytes')}).`
      : `${student.name ?? 'The student'}: size known once the run starts.`,
  );
}
