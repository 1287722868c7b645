"""Answers about files whose names are not valid text."""

from __future__ import annotations

import json
import os

from app.web.answers import error_response, fresh_json
from kgen.errors import KGenError

NAME = os.fsdecode(b"x\xff.png")


def test_a_name_that_is_not_valid_text_does_not_break_an_answer():
    assert json.loads(fresh_json({"folder": NAME}).body) == {"folder": NAME}
    assert error_response(KGenError(f"{NAME} 猫."), 400).body.decode() == "x?.png 猫."
