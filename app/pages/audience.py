"""The audience's page: the same views without Gradio. It has no form, session or queue, so sixty
viewers hold no state on the server.

Its markup is the presenter's (`studio.VIEW_HTML`), except for the sidebar, which only shows what
was chosen.
"""

from __future__ import annotations

import re
from pathlib import Path

import plotly

from app.pages import studio
from app.setup import setup

PAGE = (Path(__file__).parent / "html" / "audience.html").read_text(encoding="utf-8")


def page(root: str, version: str, styles: tuple[str, ...]) -> str:
    """`root`: path under which a proxy serves the app; `version`: of the static files. Both consist
    of plain path characters.
    """
    links = "\n".join(
        f'<link rel="stylesheet" href="{root}/kg/static/{name}?v={version}">' for name in styles
    )
    values = {
        "ROOT": root,
        "VERSION": version,
        "PLOTLY": plotly.__version__,
        "STYLES": links,
        "TEACHER": setup.TEACHER_HTML,
        "SPEED": studio.SPEED_HTML,
        "VIEW": studio.VIEW_HTML,
    }
    return re.sub(r"\b(" + "|".join(values) + r")\b", lambda match: values[match[1]], PAGE)
