"""What launch.py takes from its command line, and how it refuses the rest: exit code 2 and one sentence."""

from __future__ import annotations

import pytest

import launch


@pytest.mark.parametrize("option, value", [
    ("--allow-frame", "foo"), ("--allow-frame", "https://a.example; script-src *"), ("--allow-frame", "javascript:alert(1)"),
    ("--allow-frame", "https://a.example\n"), ("--allow-frame", ""), ("--allow-host", "https://kgen.example.org"), ("--allow-host", "a b"),
    ("--allow-host", "*"), ("--allow-host", ""), ("--allow-host", "kgen.example.org/"), ("--port", "0"), ("--root-path", "/a b")])
def test_a_bad_value_is_refused_in_one_sentence(capsys, option, value):
    with pytest.raises(SystemExit) as ended:
        launch.arguments([option, value])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and f"argument {option}: " in said and said.rstrip().endswith("expected")


def test_good_values_are_taken_as_they_are():
    hosts, frames = ["kgen.example.org", "10.0.0.7:8443", "::1", "[fe80::1]:7860"], ["https://course.example.org", "http://10.0.0.7:8080"]
    argv = [word for value in hosts for word in ("--allow-host", value)] + [word for value in frames for word in ("--allow-frame", value)]
    args = launch.arguments(argv)
    assert args.allow_host == hosts and args.allow_frame == frames


def test_only_this_computer_is_listened_to(capsys):
    assert launch.main(["--host", "0.0.0.0", "--no-browser"]) == 2
    assert "without a token" in capsys.readouterr().err
