"""The app's own routes behind its guard, without Gradio and without a port: a client for a folder
of runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.pages import routes
from app.process.runs import Runs


@contextlib.contextmanager
def served(folder: Path, command: tuple[str, ...] | None = None) -> Iterator[TestClient]:
    """A client of the app, with the app's `runs` as an attribute. `command`: starts an engine."""
    runs = Runs(folder, command)
    app = FastAPI(middleware=routes.middleware(), openapi_url=None)
    routes.install(app, runs)
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        client.runs = runs
        yield client
    runs.close()
