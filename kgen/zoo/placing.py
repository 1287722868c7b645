"""Finds a network's tensors in a file, by the network's own names: in which set of weights, under
which prefix, under which other names, and what is stored next to them.

Training scripts put prefixes before the names (`module.`, `model.`, a Sequential's `1.`), and other
tensors next to them (a criterion, a profiler's counts, another network). No list of prefixes is
needed: the names after the right one are the network's.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from kgen.zoo import checkpoints
from kgen.zoo.checkpoints import WeightSet

COUNTER = "num_batches_tracked"
"""BatchNorm's counter of training steps: older files lack it, and a frozen network does not need
it.
"""
PROFILER = ("total_ops", "total_params")
"""Counts that the profiler thop leaves in every layer."""
ALIKE = 0.5
"""Share of the best match above which other weights in the file can be chosen too."""
LIKELY = 0.3
"""Share of the network's tensors that must follow a prefix; below it, only a prefix of all names
counts.
"""
MAX_RENAMED = 4
"""How many parts of names may differ; with more, there are too many orders to try."""


class Placement(NamedTuple):
    """Where a network's tensors are in a file."""

    name: str
    """What the user calls it: its keys, and its prefix if there are several, such as
    "state_dict.teacher"; empty for the whole file.
    """
    keys: str
    """The keys of the file's dictionaries that lead to it."""
    prefix: str
    tensors: dict[str, Tensor]
    """The tensors under the prefix, by the network's names as far as they match."""
    unused: dict[str, Tensor]
    """All other tensors of this set, by their full names."""
    renamed: dict[str, str]
    """Parts of names in the file → the network's, such as "shortcut" → "downsample"."""
    folded: tuple[str, ...]
    in_order: tuple[Tensor, ...]
    """All tensors under the prefix except counters, in the file's order."""


def placements(sets: Sequence[WeightSet], expected: dict[str, Tensor]) -> list[Placement]:
    """Every place that has tensors with the network's names, best first; at least one.

    Only those that match nearly as well as the best are listed. The first is a network's own
    weights rather than their moving average, if both match equally well.
    """
    wrapper = _wrapper(expected)
    wanted = {name.removeprefix(wrapper): t for name, t in expected.items()}
    found = []
    for order, (keys, tensors, folded) in enumerate(sets):
        for prefix, score in _prefixes(tensors, wanted).items():
            rank = checkpoints.rank(f"{keys}.{prefix}")
            found.append((-score, rank, order, prefix, tensors, folded))
    found.sort(key=lambda entry: entry[:4])
    best = [entry for entry in found if -entry[0] >= ALIKE * -found[0][0]]
    times = Counter(order for _, _, order, *_ in best)
    return [
        _placement(
            # the keys alone, if they say which
            sets[order].name
            if sets[order].name and times[order] == 1
            else ".".join(part for part in (sets[order].name, prefix.rstrip(".")) if part),
            sets[order].name,
            prefix,
            tensors,
            folded,
            wanted,
            wrapper,
        )
        for _, _, order, prefix, tensors, folded in best
    ]


def choose(placed: Sequence[Placement], wanted: str | None) -> Placement | None:
    """The placement that the user names, in full or by a part that only one has; None if there is
    none. If the user names none, the first.
    """
    if wanted is None:
        return placed[0]
    wanted = wanted.rstrip(".")
    for fits in (
        lambda name: name == wanted,
        lambda name: wanted in name.split("."),
        lambda name: wanted.lower() in name.lower(),
    ):
        found = [p for p in placed if fits(p.name)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _wrapper(expected: Iterable[str]) -> str:
    """The prefix of all of a network's names, if it is our wrapper around another library's
    network.
    """
    first = {name.partition(".")[0] + "." for name in expected}
    return first.pop() if len(first) == 1 else ""


def _prefixes(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, int]:
    """Prefix → how many tensors under it have one of the network's names; those of the same shape
    count twice.
    """
    scores: Counter[str] = Counter()
    for name, t in tensors.items():
        starts = [0, *(i + 1 for i, letter in enumerate(name) if letter == ".")]
        for start in starts:
            if (there := wanted.get(name[start:])) is not None and not name.endswith(COUNTER):
                scores[name[:start]] += 1 + (t.shape == there.shape)
    most = max(scores.values(), default=0)
    return dict(scores) if most > LIKELY * 2 * len(wanted) else {_common_prefix(tensors): most}


def _common_prefix(names: Iterable[str]) -> str:
    """The prefix of all names; none of them is left empty."""
    split = [name.split(".")[:-1] for name in names]
    common = [parts[0] for parts in itertools.takewhile(lambda p: len(set(p)) == 1, zip(*split))]
    return "".join(f"{part}." for part in common)


def _placement(
    label: str,
    keys: str,
    prefix: str,
    tensors: dict[str, Tensor],
    folded: tuple[str, ...],
    wanted: dict[str, Tensor],
    wrapper: str,
) -> Placement:
    inside = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    unused = {n: t for n, t in tensors.items() if not n.startswith(prefix)}
    in_order = tuple(
        t for n, t in inside.items() if n.rpartition(".")[2] not in (COUNTER, *PROFILER)
    )
    renamed = _renaming(inside, wanted)
    inside = {_rename(name, renamed): t for name, t in inside.items()}
    top = {name.partition(".")[0] for name in wanted}
    for name in list(inside):
        if name not in wanted and (
            name.rpartition(".")[2] in PROFILER or name.partition(".")[0] not in top
        ):
            unused[prefix + name] = inside.pop(name)
    inside = {wrapper + name: t for name, t in inside.items()}
    return Placement(label, keys, prefix, inside, unused, renamed, folded, in_order)


def _renaming(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, str]:
    """The only renaming of parts of names (`shortcut` → `downsample`) after which all names are the
    network's, with as many axes each; empty if there is none, or more than one. Shapes may differ,
    so that a mismatch is reported under the network's names.
    """
    names = {n for n in found if n.rpartition(".")[2] not in (COUNTER, *PROFILER)}
    there = {n for n in wanted if not n.endswith(COUNTER)}
    if len(names) != len(there) or names == there:
        return {}
    theirs, ours = (sorted({p for n in ns for p in n.split(".")}) for ns in (names, there))
    old, new = [p for p in theirs if p not in ours], [p for p in ours if p not in theirs]
    if not 0 < len(old) == len(new) <= MAX_RENAMED:
        return {}
    fitting = [
        renamed
        for order in itertools.permutations(new)
        for renamed in [dict(zip(old, order))]
        if {_rename(n, renamed) for n in names} == there
        and all(found[n].ndim == wanted[_rename(n, renamed)].ndim for n in names)
    ]
    return fitting[0] if len(fitting) == 1 else {}


def _rename(name: str, renamed: dict[str, str]) -> str:
    return ".".join(renamed.get(part, part) for part in name.split(".")) if renamed else name
