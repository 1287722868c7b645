"""Run the recipes of all lessons with a few seeds, and write the results for the lessons and
docs/results.md.

    python benchmarks/lessons.py --runs FOLDER         # one run at a time, resuming if interrupted
    python benchmarks/lessons.py --runs FOLDER --show  # start no runs, only write existing results

Each run is a folder lesson-KEY-SEED in FOLDER, made by `python -m kgen run` on one thread.
Recordings (lessons without minutes) are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from app.lessons import lessons, metrics
from kgen.journal.reading import JournalError, open_run
from kgen.recipe.recipe import Recipe
from kgen.tables import tables

PAGE = ROOT / "docs" / "results.md"
BEGIN, END = (
    "<!-- lessons: written by `python benchmarks/lessons.py` -->",
    "<!-- end of lessons -->",
)


def recipes() -> dict[str, Recipe]:
    """key → recipe with seed 0, without duplicates."""
    shelf = lessons.Lessons(lessons.FOLDER)
    assert not shelf.errors, shelf.errors
    made = [x.recipe_for(v) for x in shelf.lessons.values() if x.minutes for v in x.variants]
    return {tables.key(r): r.replace(seed=0) for r in made}


def there(folder: Path) -> dict[tuple[str, int], Path]:
    """(key, seed) → finished run."""
    found = {}
    for path in sorted(p for p in folder.iterdir() if (p / "recipe.json").is_file()):
        try:
            run = open_run(path)
            if run.finished:
                found[tables.key(run.recipe), run.recipe.seed] = path
        except JournalError:
            continue
    return found


def make(wanted: dict[str, Recipe], seeds: range, folder: Path) -> None:
    for seed in seeds:
        for key, recipe in wanted.items():
            if (key, seed) not in there(folder):
                print(f"{key}, seed {seed} …", flush=True)
                out = folder / f"lesson-{key}-{seed}"
                subprocess.run(
                    [sys.executable, "-m", "kgen", "run", "-", "--out", str(out), "--json"],
                    input=recipe.replace(seed=seed).to_json().encode(),
                    cwd=ROOT,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                    stdout=subprocess.DEVNULL,
                    check=True,
                )


def write(wanted: dict[str, Recipe], runs: dict[tuple[str, int], Path]) -> None:
    measured: dict[str, dict] = defaultdict(dict)
    for (key, seed), path in sorted(runs.items()):
        if key in wanted:
            values = metrics.numbers(open_run(path))
            values.pop("seconds")  # not comparable: the machine was also doing other work
            measured[key][str(seed)] = {
                n: round(v, 4) if isinstance(v, float) else v
                for n, v in values.items()
                if v is not None
            }
    (lessons.FOLDER / lessons.MEASURED).write_text(
        json.dumps(measured, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    lessons.measured.cache_clear()
    shelf = lessons.Lessons(lessons.FOLDER)
    lines = ["| lesson | switch | A | B |", "|---|---|--:|--:|"]
    for x in shelf.lessons.values():
        if x.switch:
            spread = shelf.spread(x).get("accuracy", {})
            if list(x.switch.changes) == ["seed"]:  # A and B share a recipe: each seed's value
                own = measured.get(tables.key(x.recipe_for("a")), {})
                spread = {
                    v: f"{100 * own[s]['accuracy']:.1f}%, seed {s}"
                    for v, s in zip("ab", (str(x.recipe_for(v).seed) for v in "ab"))
                    if s in own
                }
            lines.append(
                f"| {x.title} | {x.switch.name}:"
                f" {', '.join(f'`{n}` {a} → {b}' for n, a, b in lessons.flipped_fields(x))} |"
                f" {spread.get('a', '–')} | {spread.get('b', '–')} |"
            )
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(
        f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}", encoding="utf-8"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    if not args.show:
        make(recipes(), range(args.seeds), args.runs)
    write(recipes(), there(args.runs))
