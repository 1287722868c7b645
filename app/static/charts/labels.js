// Positions of class names in the scatter plot: near the center of their class, covering as few
// points as possible.

const CHARACTER_WIDTH = 6.2; // pixels
const PADDING = 4; // around a name, in pixels

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

/**
 * Places the names of classes so that they cover few points and do not overlap.
 * @param {string[]} names
 * @param {{ c: number, x: number, y: number }[]} points In pixels.
 * @param {number} width
 * @param {number} height
 * @returns {{ text: string, c: number, x: number, y: number }[]} The middle of each baseline, in
 *   pixels.
 */
export function placeLabels(names, points, width, height) {
  const placed = [];
  names.forEach((text, c) => {
    const classPoints = points.filter((p) => p.c === c);
    if (!classPoints.length) return;
    const mx = median(classPoints.map((p) => p.x));
    const my = median(classPoints.map((p) => p.y));
    const half = (text.length * CHARACTER_WIDTH) / 2 + PADDING;
    let best = null;
    for (let dy = -56; dy <= 64; dy += 8)
      for (let dx = -72; dx <= 72; dx += 12) {
        const x = mx + dx;
        const y = my + dy;
        if (x < half || x > width - half || y < 14 || y > height - 6) continue;
        const covered = points.reduce(
          (n, p) => n + Number(Math.abs(p.x - x) < half + 3 && p.y > y - 16 && p.y < y + 7),
          0,
        );
        const crowded = placed.reduce(
          (n, q) => n + Number(Math.abs(q.x - x) < half + q.half && Math.abs(q.y - y) < 18),
          0,
        );
        const cost = covered * 6 + crowded * 90 + Math.hypot(dx * 0.8, dy) * 0.12;
        if (!best || cost < best.cost) best = { text, c, x, y, half, cost };
      }
    if (best) placed.push(best);
  });
  return placed;
}
