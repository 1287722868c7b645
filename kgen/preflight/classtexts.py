"""Checks class names: one per output, distinct, and with an embedding in the bundled table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from safetensors.torch import load_file

from kgen import embeddings
from kgen.data.classes import embedded
from kgen.phrases import MAX_LISTED, and_more, count, first_few
from kgen.preflight.request import Row
from kgen.system import shell


def check_count(outputs: int, names: Sequence[str] | None, source: str = "") -> Row:
    """Compares the number of outputs with the number of names; `source`: how the file with the
    names was read.
    """
    if names is None:
        return Row(
            name="classes",
            status="fail",
            finding=f"{count(outputs, 'class')} and no names",
            advice=(
                "List the names in the order of the outputs: --classes cat,dog or a file with one"
                " name per line."
            ),
        )
    if outputs == 1:
        return Row(
            name="classes",
            status="fail",
            finding="1 class: the network has a single output",
            advice=(
                "A single output cannot distinguish classes; expected one output per class, so a"
                " yes/no classifier needs two."
            ),
        )
    if len(names) != outputs:
        return Row(
            name="classes",
            status="fail",
            finding=f"{count(outputs, 'class')} but {count(len(names), 'name')}",
            advice=(
                "List as many names as the network has outputs, in the same order."
                + (f" They were read {source}." if source else "")
            ),
        )
    return Row(
        name="classes",
        status="ok",
        finding=f"{count(outputs, 'class')}, {count(len(names), 'name')}: {first_few(names)}",
        advice=f"Read {source}." if source else "",
    )


def _word(text: str) -> str:
    """The same result for texts that differ only in case, hyphens, or a plural s. A similar
    spelling alone says nothing about the meaning: mango is not man.
    """
    return " ".join(re.split(r"[\s_-]+", text.casefold())).removesuffix("s")


def check_texts(names: Sequence[str]) -> Row:
    """Checks for duplicates, texts that the table lacks, and pairs with nearly the same meaning."""
    duplicates = [name for name, n in Counter(names).items() if n > 1]
    if duplicates:
        occurrences = ", ".join(
            f"{name!r} (classes {', '.join(str(i) for i, n in enumerate(names) if n == name)})"
            for name in duplicates[:MAX_LISTED]
        )
        return Row(
            name="class texts",
            status="fail",
            finding=f"the same text for several classes: {occurrences}{and_more(duplicates)}",
            advice="Rename one of them; a class is selected, shown, and embedded by its text.",
        )
    rows = embedded()
    missing = [name for name in names if name not in rows]
    findings, advice = [], []
    if missing:
        same_word = {_word(text): text for text in rows}
        suggestions = [
            f"{name!r} → {text!r}"
            for name in missing[:MAX_LISTED]
            if (text := same_word.get(_word(name)))
        ]
        findings.append(f"no embedding for {len(missing)} of {len(names)}: {first_few(missing)}")
        advice.append(
            "Runs use class centers instead, which need no texts. To use texts,"
            + (f" rename {', '.join(suggestions)}, or" if suggestions else "")
            + f" add them to the table: python -m kgen embed {shell.join(missing[:MAX_LISTED])}"
            + f"{' …' * (len(missing) > MAX_LISTED)} (needs sentence-transformers)."
        )
    if close := _close([name for name in names if name in rows], rows):
        findings.append(
            "nearly the same text:"
            f" {', '.join(f'{a!r} and {b!r}' for a, b in close[:MAX_LISTED])}{and_more(close)}"
        )
        advice.append(
            "Rename one of each pair, or run with --set embedding=center: the nearest pair sets the"
            " scale for all classes."
        )
    if not findings:
        return Row(
            name="class texts",
            status="ok",
            finding="all different, each with an embedding in the bundled table",
        )
    return Row(
        name="class texts", status="warn", finding="; ".join(findings), advice=" ".join(advice)
    )


def _close(names: list[str], rows: dict[str, int]) -> list[tuple[str, str]]:
    if len(names) < 2:
        return []
    table = load_file(embeddings.TABLE)["embedding"].float()[[rows[name] for name in names]]
    return [(names[a], names[b]) for a, b in embeddings.close_pairs(table)]
