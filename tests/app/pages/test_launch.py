"""What launch.py accepts on its command line, and how it rejects the rest: exit code 2 and one
sentence.
"""

from __future__ import annotations

import json
import os
import socket
import urllib.request
import webbrowser

import pytest
import tomlkit

from app import launch, main
from app.web.errors import ServeError
from kgen.system.paths import ROOT
from tests.support.errors import raises
from tests.support.serving import App, until
from tests.support.unprivileged import without_rights


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
        and "; expected " in said.splitlines()[-1]
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
def test_what_is_not_a_token_or_link_is_refused(capsys, argv, said):
    with pytest.raises(SystemExit) as ended:
        launch.arguments(argv)
    assert ended.value.code == 2 and said in capsys.readouterr().err


def test_the_network_variables_of_the_shell_are_set_aside(monkeypatch):
    ours = {"ALL_PROXY": "socks5://127.0.0.1:1", "SSL_CERT_FILE": "/nonexistent/x.pem"}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "example.org")
    for name in launch.ENVIRONMENT:
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back after the test
    aside = launch.prepare_environment()
    assert aside.items() >= ours.items() and aside["NO_PROXY"] == "example.org"
    assert not ours.keys() & os.environ.keys()
    seen = {}
    monkeypatch.setattr(webbrowser, "open", lambda link: seen.update(os.environ))
    main.open_browser("http://127.0.0.1/", aside)
    assert seen.items() >= aside.items(), "the user's browser gets them"
    assert not ours.keys() & os.environ.keys() and os.environ["NO_PROXY"] == "*"


@pytest.mark.slow
def test_it_starts_in_any_shell_and_on_ipv6(monkeypatch, tmp_path):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "nonsense://[")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/cacert.pem")
    monkeypatch.delenv("HOME")
    app = App(tmp_path, "--host", "::1")
    try:
        assert app.address.startswith("http://[::1]:")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(app.address, timeout=30) as answer:
            assert b"K-Gen Explorer" in answer.read()
    finally:
        app.end()


@pytest.mark.slow
def test_the_terminal_says_if_the_runs_folder_cannot_be_written(tmp_path):
    (tmp_path / "runs").touch()
    app = App(tmp_path)
    try:
        until("the sentence", lambda: "runs is not writable" in app.errors.read_text(), 10)
    finally:
        app.end()


def test_the_container_starts_the_app_with_options_that_it_has():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    lines = dict(line.split(" ", 1) for line in text.splitlines() if line.startswith(("EN", "CMD")))
    args = launch.arguments([*json.loads(lines["ENTRYPOINT"])[1:], *json.loads(lines["CMD"])])
    assert args.host == "0.0.0.0" and args.token and not launch.is_loopback(args.host)
    assert f"EXPOSE {args.port}\n" in text and args.runs.startswith("/data/")


def test_the_container_gets_every_file_that_a_package_is_made_of():
    let_in = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    project = tomlkit.parse((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], "pyproject.toml", "requirements.txt"}
    assert needed | {project["project"]["readme"], *project["project"]["license-files"]} <= let_in


@pytest.mark.parametrize("text", ["::1", "[::1]", "0:0:0:0:0:0:0:1", "[0::0001]"])
def test_an_ipv6_address_may_be_written_in_any_form(text):
    assert launch.arguments(["--host", text]).host == "::1"


def test_localhost_may_be_in_capitals():
    assert launch.arguments(["--host", "LocalHost"]).host == "localhost"
    assert launch.arguments(["--host", "ip6-localhost"]).host == "::1"


def test_a_port_that_is_not_allowed_is_not_said_to_be_in_use():
    with without_rights():
        if main.bind_error("127.0.0.1", 80) is None:
            pytest.skip("this system lets every user listen on port 80")
        with raises(ServeError, "no-permission", 80, "--port", port=80):
            main.claimed_port("127.0.0.1", 80)


def test_a_port_in_use_and_a_host_that_is_elsewhere():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with raises(ServeError, "busy", port, port=port):
            main.claimed_port("127.0.0.1", port)
    for choose in (
        lambda: main.claimed_port("192.0.2.1", 7860),
        lambda: main.free_port("192.0.2.1"),
    ):
        with raises(ServeError, "unknown-address", "192.0.2.1", host="192.0.2.1"):
            choose()
