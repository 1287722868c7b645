"""Reads class names in the formats that people keep them in. Independent of networks and torch.

One per line, comma-separated, a list in JSON or Python, a dictionary (index → name or name →
index), a table with one row per class, or the name of a data set. A number is an index only if the
format says so: by its place in a dictionary, by its column in a table, or because every line has
one at the same end, and they count the classes.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kgen.data import classes
from kgen.phrases import count, did_you_mean
from kgen.preflight.errors import PreflightError

MAX_BYTES = 2**24
MAX_NUMBERED = 300
"""Longest line, in characters, that is searched for an index."""
TABLES = {".csv": ",;\t", ".tsv": "\t"}
"""File name extensions of tables, and their delimiters."""
NAME_COLUMNS = {
    *("name", "class", "label", "text", "category", "title"),
    *("class_name", "label_name", "category_name", "display_name"),
}
INDEX_COLUMNS = {
    *("id", "index", "idx", "number", "class_id", "label_id", "category_id"),
    *("class_index", "class_idx", "label_index"),
}
CONTAINERS = (
    *("id2label", "idx_to_class", "class_to_idx", "label2id"),
    *("class_names", "label_names", "names", "classes", "labels", "categories"),
)
"""Entries of a model's JSON file that hold its class names, such as Hugging Face's and timm's
config.json."""
EXPECTED = (
    'expected ["cat", "dog"] or {"0": "cat", "1": "dog"}, in the order of the network\'s outputs'
)
AS_ENTERED = "your input"
"""Stands in for the file name of names that did not come from a file."""
_SEPARATOR = r"(?:\s*(?:[:=,;|)\]]|->|→)\s*|\s+-\s+|\.\s+|\s+)"
NUMBERED = (
    re.compile(rf"[(\[]?(?P<index>[0-9]{{1,9}}){_SEPARATOR}(?P<name>\S.*)"),
    re.compile(rf"(?P<name>.*?\S){_SEPARATOR}[(\[]?(?P<index>[0-9]{{1,9}})[)\]]?"),
)
"""A line with an index: "0: cat", "0 cat", "(0) cat"; "cat: 0", "cat 0", "cat (0)"."""
JOINERS = "\u200c\u200d"
"""ZWNJ and ZWJ are part of ordinary words in Persian and Hindi, and of emoji."""
TAGS = range(0xE0020, 0xE0080)
"""Tag characters are part of some flags."""


class ClassNames(NamedTuple):
    """Names in the order of the outputs."""

    names: tuple[str, ...]
    source: str = ""
    """How a file was interpreted, if another reading was possible."""


def read_names(text: str) -> ClassNames:
    """Class names from the command line: a file, or what `parse_names` reads.

    Raises PreflightError.
    """
    path = Path(text)
    named_as_file = path.suffix.lower() in (".txt", ".json", *TABLES)
    if text in classes.known() or not (named_as_file or _is_file(path)):
        return parse_names(text)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PreflightError(
                f"The class names file {text} exceeds 16 MB; expected one name per line.",
                code="too-large",
                file=text,
            )
        content = _decoded(path.read_bytes())
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or (
            "not UTF-8 or UTF-16 text. Save the file as UTF-8 (in Excel, as CSV UTF-8)"
        )
        raise PreflightError(
            f"The class names file {text} cannot be read: {reason}.", code="unreadable", file=text
        ) from None
    return _parse_file(path.name, content)


def parse_names(text: str, file: str | None = None) -> ClassNames:
    """Class names as entered: one per line, comma-separated, JSON, a table, or a known data set.

    `file`: the name of the file that the text comes from. Raises PreflightError.
    """
    if file is not None:
        return _parse_file(file, text)
    text = text.lstrip("\ufeff").strip()
    if "\0" in text:
        raise PreflightError(
            "The class names contain null characters, as UTF-16 does when its bytes are pasted;"
            " open the file itself, or save it as UTF-8 and paste it again.",
            code="invalid-classes",
        )
    if text in classes.known():
        return ClassNames(classes.names(text))
    if text.startswith(("[", "{")):
        return _from_json(AS_ENTERED, text)
    if table := _table_in(text):
        return _from_table("the table", *table)
    found = _from_lines(AS_ENTERED, text)
    if len(found.names) == 1:
        raise PreflightError(
            f"The class names are {text[:60]!r}: expected comma-separated names, a .txt, .csv, or"
            f" .json file, or a data set. {did_you_mean(text[:60], list(classes.known()))}",
            code="invalid-classes",
        )
    return found


def clean(name: str) -> str:
    """A name without invisible differences: composed letters (NFC), plain spaces."""
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in name)
    return unicodedata.normalize("NFC", spaced).strip()


def invisible(name: str) -> str | None:
    """The first character that does not belong in a name, such as "U+200B ZERO WIDTH SPACE"."""
    for c in name:
        if c in JOINERS or ord(c) in TAGS or unicodedata.category(c) not in UNPRINTABLE:
            continue
        return f"U+{ord(c):04X} {unicodedata.name(c, '')}".strip()
    return None


UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: controls, invisible formatting, halves of characters, separators."""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a list of names that is too long for a path
        return False


def _decoded(content: bytes) -> str:
    """UTF-8 or UTF-16, with or without a byte order mark."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    if b"\0" in content[:2]:
        return content.decode("utf-16-be" if content[:1] == b"\0" else "utf-16-le")
    return content.decode("utf-8-sig")


def _from_lines(file: str, text: str) -> ClassNames:
    """One name per line, or a single line with commas, which may end in one.

    Lines that begin with "# " are comments, unless all do.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = [line for line in lines if not line.startswith("# ")] or lines
    comments = len(lines) - len(found)
    if len(found) == 1:
        found = [part.strip() for part in found[0].rstrip(", ").split(",")]
    names = _without_indices(file, found) or ClassNames(tuple(found))
    if not comments:
        return names
    source = names.source or f"from {file}"
    return names._replace(source=f"{source}, without {count(comments, 'comment')}")


def _without_indices(file: str, lines: list[str]) -> ClassNames | None:
    """Names in the order of the indices at one end of every line; None if there are none.

    Numbers that are part of the names do not qualify: those in "speed limit 50" and the like do not
    count the classes, and without those in "type 1" and "type 2", the names would be the same.
    """
    for form in NUMBERED:
        matches = [form.fullmatch(line) for line in lines if len(line) <= MAX_NUMBERED]
        pairs = [(m["index"], m["name"]) for m in matches if m]
        order = _order([index for index, _ in pairs])
        names = [name for _, name in pairs]
        if len(lines) > 1 and len(pairs) == len(lines) == len(set(names)) and order:
            place = "before" if form is NUMBERED[0] else "after"
            return ClassNames(
                tuple(names[i] for i in order),
                f"from {file}, in the order of the indices {place} the names",
            )
    return None


def _parse_file(file: str, content: str) -> ClassNames:
    suffix, content = Path(file).suffix.lower(), content.lstrip("\ufeff")
    if suffix in (".yaml", ".yml") or "\0" in content:
        raise PreflightError(
            f"{file} is not a text file with class names; save them as a .txt file with one name"
            " per line, or as a .csv or .json file.",
            code="invalid-classes",
            file=file,
        )
    if suffix == ".json" or content.lstrip()[:1] in ("[", "{"):
        return _from_json(file, content)
    if suffix in TABLES:
        return _from_table(file, *_split_header(file, _rows(file, content, TABLES[suffix])))
    if table := _table_in(content):
        return _from_table(file, *table)
    return _from_lines(file, content)


# --- JSON ----------------------------------------------------------------------------------------


def _from_json(file: str, content: str) -> ClassNames:
    try:
        return _from_value(file, _literal(content))
    except (ValueError, RecursionError) as error:
        if isinstance(error, PreflightError):
            raise
        raise PreflightError(
            f"The class names in {file} are not JSON ({str(error)[:80]}); {EXPECTED}, or a .txt"
            " file with one name per line.",
            code="not-json",
            file=file,
        ) from None


def _literal(content: str) -> Any:
    """JSON, or the same values as Python prints them, such as ['cat', 'dog'].

    Raises JSON's ValueError, or RecursionError.
    """
    try:
        return json.loads(content)
    except ValueError:
        if not content.lstrip().startswith(("[", "(", "{")):
            raise
        try:
            return json.loads(json.dumps(ast.literal_eval(content.strip())))
        except (ValueError, TypeError, SyntaxError, MemoryError):
            pass
        raise


def _from_value(file: str, value: Any) -> ClassNames:
    if isinstance(value, dict):
        inner = next((k for k in CONTAINERS if isinstance(value.get(k), (list, dict))), None)
        if inner is None:
            return _from_dictionary(file, value)
        found = _from_value(file, value[inner])
        return found._replace(source=found.source or f"from {inner!r} in {file}")
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        header = list(value[0])
        if all(list(row) == header for row in value):
            return _from_table(file, header, [[str(v) for v in row.values()] for row in value])
    if not isinstance(value, list) or not all(isinstance(n, str) or _is_int(n) for n in value):
        raise PreflightError(
            f"The class names in {file} are not a list of names; {EXPECTED}.",
            code="invalid-classes",
            file=file,
        )
    return ClassNames(tuple(map(str, value)))


def _from_dictionary(file: str, pairs: dict[str, Any]) -> ClassNames:
    """Index → name or name → index, whichever side holds the numbers."""
    keys, values = list(pairs), [_name_in_pair(value) for value in pairs.values()]
    by_key = by_value = None
    if all(isinstance(value, str) or _is_int(value) for value in values):
        by_key, by_value = _order(keys), _order(values)
    names_of_values = by_key and tuple(str(values[i]) for i in by_key)
    names_of_keys = by_value and tuple(keys[i] for i in by_value)
    if names_of_keys and names_of_values and names_of_keys != names_of_values:
        if not all(_is_int(value) for value in values):
            raise PreflightError(
                f"The class names in {file} have numbers on both sides, so it is unclear which are"
                ' the names; use a list in the order of the outputs, such as ["1", "2"].',
                code="ambiguous",
                file=file,
            )
        names_of_values = None  # as in ImageFolder.class_to_idx: only the indices are JSON numbers
    if found := names_of_values or names_of_keys:
        kind = "index → name" if names_of_values else "name → index"
        where = "" if file == AS_ENTERED else f"from {file} "
        return ClassNames(found, f"{where}as a dictionary ({kind})")
    raise PreflightError(
        f"The class names in {file} are not a dictionary (index → name or name → index) with"
        f" indices from 0 without gaps{_gap(keys) or _gap(values)}; {EXPECTED}.",
        code="invalid-classes",
        file=file,
    )


def _name_in_pair(value: Any) -> Any:
    """Keras keeps ["n01440764", "tench"] per class: WordNet ID and name."""
    pair = isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value)
    return value[1] if pair else value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _integer(value: Any) -> int | None:
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _order(indices: Sequence[Any]) -> list[int] | None:
    """Positions in the order of their indices, which count from 0 or 1; None if they do not."""
    numbers = [_integer(value) for value in indices]
    if not numbers or None in numbers:
        return None
    order = sorted(range(len(numbers)), key=lambda i: numbers[i] or 0)
    first = numbers[order[0]]
    counts = first in (0, 1) and [numbers[i] for i in order] == list(
        range(first, first + len(numbers))
    )
    return order if counts else None


def _gap(indices: Sequence[Any]) -> str:
    """Which index is missing, for the end of a sentence."""
    numbers = {_integer(value) for value in indices}
    if None in numbers or not numbers:
        return ""
    first = min(0 if number is None else number for number in numbers)
    counted = range(min(first, 1), len(indices) + 1)
    missing = next(i for i in counted if i not in numbers)
    return f" ({missing} is missing)" if missing < max(n or 0 for n in numbers) else ""


# --- tables --------------------------------------------------------------------------------------


def _rows(file: str, content: str, delimiters: str) -> list[list[str]]:
    """The rows of a table, split at the most frequent delimiter in its first line."""
    first = content.lstrip().partition("\n")[0]
    delimiter = max(delimiters, key=first.count)
    try:
        found = list(csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise PreflightError(
            f"The class names in {file} are not a table ({error}).",
            code="invalid-classes",
            file=file,
        ) from None
    found = [[cell.strip() for cell in row] for row in found if any(cell.strip() for cell in row)]
    width = len(found[0]) if found else 0
    for i, row in enumerate(found):
        if len(row) != width:
            raise PreflightError(
                f"Row {i + 1} of the class names in {file} has a different number of columns"
                f" ({len(row)}) from the first row ({width}); put quotes around names that contain"
                f" {delimiter!r}.",
                code="invalid-classes",
                file=file,
                row=i + 1,
            )
    return found


def _table_in(text: str) -> tuple[list[str], list[list[str]]] | None:
    """Header and rows, if text is a table with a column of indices; names can have commas too."""
    first, _, rest = text.strip().partition("\n")
    if not rest or not any(d in first for d in TABLES[".csv"]):
        return None
    try:
        header, *rows = _rows(AS_ENTERED, text, TABLES[".csv"])
    except PreflightError:
        return None
    columns = [_key(title) for title in header]
    index = next((i for i, title in enumerate(columns) if title in INDEX_COLUMNS), None)
    if index is None or not rows or any(_integer(row[index]) is None for row in rows):
        return None
    return header, rows


def _split_header(file: str, rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows; without a header, the columns are named after what they contain."""
    if not rows:
        return [], []
    first, *rest = rows
    has_title = any(_key(title) in NAME_COLUMNS | INDEX_COLUMNS for title in first)
    if has_title or any(
        _integer(first[i]) is None and rest and all(_integer(row[i]) is not None for row in rest)
        for i in range(len(first))
    ):
        return first, rest
    if len(first) == 1:
        return ["name"], rows
    numbers = [i for i in range(len(first)) if _order([row[i] for row in rows]) is not None]
    if len(first) == 2 and len(numbers) == 1:
        return ["index" if i in numbers else "name" for i in range(2)], rows
    raise PreflightError(
        f"The class names in {file} have {count(len(first), 'column')} and no header that names"
        " them; expected a first row such as index,name.",
        code="invalid-classes",
        file=file,
    )


def _from_table(file: str, header: list[str], rows: list[list[str]]) -> ClassNames:
    keys = [_key(title) for title in header]
    columns = range(len(keys))

    def numbers(i: int) -> bool:
        return all(_integer(row[i]) is not None for row in rows)

    named = [i for i in columns if keys[i] in NAME_COLUMNS]
    if len(named) > 1:
        named = [i for i in named if not numbers(i)]
    if not named:
        named = [i for i in columns if keys[i] not in INDEX_COLUMNS] or list(columns)
    if len(named) != 1:
        raise PreflightError(
            f"The class names in {file} have the columns {', '.join(map(repr, header)) or 'none'};"
            " expected one called 'name', and one called 'index' if the rows are not in the order"
            " of the network's outputs.",
            code="invalid-classes",
            file=file,
        )
    name = named[0]
    index = [i for i in columns if i != name and keys[i] in INDEX_COLUMNS] or [
        i for i in columns if i != name and keys[i] in NAME_COLUMNS and numbers(i)
    ]
    source = f"from column {header[name]!r} of {file}"
    if not index:
        return ClassNames(tuple(row[name] for row in rows), f"{source}, in the order of its rows")
    values = [row[index[0]] for row in rows]
    if (order := _order(values)) is None:
        raise PreflightError(
            f"Column {header[index[0]]!r} of the class names in {file} does not number the outputs"
            f" from 0 without gaps{_gap(values)}; remove it if the rows are in the order of the"
            " network's outputs.",
            code="invalid-classes",
            file=file,
            field=header[index[0]],
        )
    return ClassNames(
        tuple(rows[i][name] for i in order), f"{source}, in the order of {header[index[0]]!r}"
    )


def _key(title: str) -> str:
    """A column's title for comparison: "Class ID" and "classId" → class_id."""
    spaced = "".join(
        f" {c}" if c.isupper() and p.islower() else c for p, c in zip(" " + title, title)
    )
    return "_".join(spaced.replace("_", " ").replace("-", " ").lower().split())
