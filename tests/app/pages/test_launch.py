"""What launch.py accepts on its command line, and how it rejects the rest: exit code 2 and one
sentence.
"""

from __future__ import annotations

import pytest

from app import launch


@pytest.mark.parametrize(
    "option, value",
    [
        ("--allow-frame", "foo"),
        ("--allow-frame", "https://a.example; script-src *"),
        ("--allow-frame", "javascript:alert(1)"),
        ("--allow-frame", "https://a.example\n"),
        ("--allow-frame", ""),
        ("--allow-host", "https://kgen.example.org"),
        ("--allow-host", "a b"),
        ("--allow-host", "*"),
        ("--allow-host", ""),
        ("--allow-host", "kgen.example.org/"),
        ("--port", "0"),
        ("--root-path", "/a b"),
    ],
)
def test_a_bad_value_is_refused_in_one_sentence(capsys, option, value):
    with pytest.raises(SystemExit) as ended:
        launch.arguments([option, value])
    said = capsys.readouterr().err
    assert (
        ended.value.code == 2
        and f"argument {option}: " in said
        and said.rstrip().endswith("expected")
    )


def test_good_values_are_taken_as_they_are():
    hosts, frames = (
        ["kgen.example.org", "10.0.0.7:8443", "::1", "[fe80::1]:7860"],
        [
            "https://course.example.org",
            "http://10.0.0.7:8080",
        ],
    )
    argv = [word for value in hosts for word in ("--allow-host", value)] + [
        word for value in frames for word in ("--allow-frame", value)
    ]
    args = launch.arguments(argv)
    assert args.allow_host == hosts and args.allow_frame == frames


def test_only_this_computer_is_listened_to(capsys):
    assert launch.main(["--host", "0.0.0.0", "--no-browser"]) == 2
    assert "without a token" in capsys.readouterr().err
    assert launch.main(["--host", "192.168.1.7", "--no-browser"]) == 2
    assert capsys.readouterr().err.endswith("python launch.py --host 192.168.1.7 --presenter\n"), (
        "and how to do it"
    )


def test_a_presenter_has_a_token_whatever_is_given(monkeypatch):
    monkeypatch.delenv("KGEN_TOKEN", raising=False)
    assert launch.arguments([]).token is None
    assert len(launch.arguments(["--presenter"]).token) >= 32
    assert (
        launch.arguments(["--presenter", "--token", "sixteen-letters-"]).token == "sixteen-letters-"
    )
    monkeypatch.setenv("KGEN_TOKEN", "of-the-environment")
    assert (
        launch.arguments(["--presenter"]).token == "of-the-environment"
        and launch.arguments([]).token is None
    )
    assert (
        launch.arguments(["--presenter", "--link", "https://kgen.example.org"]).link
        == "https://kgen.example.org/"
    )


@pytest.mark.parametrize(
    "argv, said",
    [
        (["--presenter", "--token", "short"], "16 to 200"),
        (["--presenter", "--token", "a; Domain=evil.example"], "16 to 200"),
        (["--token", "sixteen-letters-"], "with --presenter"),
        (["--link", "https://kgen.example.org"], "with --presenter"),
        (["--presenter", "--link", "kgen.example.org"], "kgen.example.org is not"),
        (["--presenter", "--link", "javascript:alert(1)"], "javascript:alert(1) is not"),
        (["--presenter", "--link", "https://a.example/?x=<b>"], "https://a.example/?x=<b> is not"),
    ],
)
def test_what_is_no_token_or_link_is_refused(capsys, argv, said):
    with pytest.raises(SystemExit) as ended:
        launch.arguments(argv)
    assert ended.value.code == 2 and said in capsys.readouterr().err
