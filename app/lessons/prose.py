"""Texts of lessons and glossary: turns Markdown into a tree of plain data, which the page draws
using text nodes only. Nothing here is markup.

Besides Markdown, a text can contain $formulas$ (or a ```math block), {{placeholders}} for a run's
numbers, and glossary words, which are marked where they first appear. Any other Markdown (HTML,
images, external links) becomes plain text.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.tree import SyntaxTreeNode

Node = Any
"""A string, or {"tag", "children"} (with "href" for a link), {"math", "block"}, {"number"},
{"term", "text"}.
"""
TAGS = {
    "paragraph": "p",
    "heading": "h3",
    "bullet_list": "ul",
    "ordered_list": "ol",
    "list_item": "li",
    "blockquote": "blockquote",
    "strong": "strong",
    "em": "em",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tr": "tr",
    "th": "th",
    "td": "td",
}
LINK = re.compile(r"\?[a-z0-9=&_-]{1,120}")
"""Allowed links: other places within this app."""
PLACEHOLDER = re.compile(r"\{\{\s*([a-z_]+(?:\.[a-z_]+){1,2})\s*\}\}")
SCRIPT = re.compile(r"[_^](?:\{([^{}]*)\}|(\w))")
Mark = Callable[[str], Iterator[Node]]


def tree(text: str, mark: Mark | None = None) -> list[Node]:
    """A text as nodes. `mark` splits plain text into pieces and marked words."""
    return _children(SyntaxTreeNode(_parser().parse(text)), mark or (lambda piece: iter([piece])))


def placeholders(nodes: list[Node]) -> Iterator[str]:
    """Names of the numbers that a tree has placeholders for."""
    for node in nodes:
        if isinstance(node, dict):
            if "number" in node:
                yield node["number"]
            yield from placeholders(node.get("children", []))


def plain(nodes: list[Node]) -> str:
    """The plain text of a tree."""
    return "".join(
        n if isinstance(n, str) else n.get("text") or plain(n.get("children", [])) for n in nodes
    )


def formula(text: str) -> list[Node]:
    """L_{kr} = Σ max(0, M) → single letters in italics, subscripts and superscripts: [{"i"} |
    {"sub"} | {"sup"} | text].
    """
    result: list[Node] = []
    start = 0
    for script in SCRIPT.finditer(text):
        result += _letters(text[start : script.start()])
        content = script[1] if script[1] is not None else script[2]
        result.append({"sub" if script[0][0] == "_" else "sup": _letters(content)})
        start = script.end()
    return result + _letters(text[start:])


def _letters(text: str) -> list[Node]:
    """A single letter is a symbol in italics; longer words (log, max, MSE) are upright."""
    return [
        {"i": piece} if i % 2 else piece
        for i, piece in enumerate(re.split(r"((?<![\w'’])[^\W\d_Σ][\u0300-\u036f]*(?!\w))", text))
        if piece
    ]


@functools.cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.inline.ruler.before("escape", "formula", _formula_rule)
    return parser


def _formula_rule(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] != "$":
        return False
    end = state.src.find("$", state.pos + 1)
    if end < state.pos + 2 or end > state.posMax:
        return False
    if not silent:
        state.push("formula", "", 0).content = state.src[state.pos + 1 : end]
    state.pos = end + 1
    return True


def _children(node: SyntaxTreeNode, mark: Mark) -> list[Node]:
    return [inner for child in node.children for inner in _node(child, mark)]


def _node(node: SyntaxTreeNode, mark: Mark) -> Iterator[Node]:
    if node.type == "text":
        yield from _text(node.content, mark)
    elif node.type in ("softbreak", "hardbreak"):
        yield " "
    elif node.type == "formula":
        yield {"math": formula(_tidy(node.content)), "block": False}
    elif node.type == "fence" and node.info.strip() == "math":
        yield {
            "math": [
                piece
                for line in node.content.strip().splitlines()
                for piece in (*formula(_tidy(line)), {"br": True})
            ][:-1],
            "block": True,
        }
    elif node.type in ("code_inline", "fence", "code_block"):
        yield {
            "tag": "code" if node.type == "code_inline" else "pre",
            "children": [_tidy(node.content)],
        }
    elif node.type == "link" and LINK.fullmatch(str(node.attrs.get("href", ""))):
        yield {
            "tag": "a",
            "href": str(node.attrs["href"]),
            "children": _children(node, lambda piece: iter([piece])),
        }
    elif node.type in TAGS:
        inner = mark if node.type not in ("heading", "th") else (lambda piece: iter([piece]))
        yield {"tag": TAGS[node.type], "children": _children(node, inner)}
    elif node.children:  # inline nodes, and anything we do not draw: keep the text
        yield from _children(node, mark)
    elif node.type not in ("hr", "image", "root"):
        yield _tidy(node.content)


def _text(text: str, mark: Mark) -> Iterator[Node]:
    start = 0
    for match in PLACEHOLDER.finditer(text):
        yield from mark(_tidy(text[start : match.start()]))
        yield {"number": match[1]}
        start = match.end()
    if start < len(text):
        yield from mark(_tidy(text[start:]))


def _tidy(text: str) -> str:
    """Removes invisible characters, such as those that reverse text direction."""
    return "".join(
        c for c in text if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Co", "Cs")
    )
