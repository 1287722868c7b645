"""The environment's network variables: which one is wrong, and that nothing else is blamed."""

from __future__ import annotations

import pytest

from kgen.system import connection
from kgen.system.connection import VariableError
from kgen.zoo import download, fetch
from kgen.zoo.download import DownloadError
from tests.support.errors import raises
from tests.support.loopback import Shelf, serving
from tests.support.serving import free_port

VARIABLES = (*connection.PROXIES, "no_proxy", *connection.CERTIFICATES, "SSLKEYLOGFILE")


@pytest.fixture(autouse=True)
def clean_shell(monkeypatch):
    for name in VARIABLES:
        for spelling in (name, name.lower(), name.upper()):
            monkeypatch.delenv(spelling, raising=False)


def test_an_empty_shell_is_in_order():
    connection.check_variables()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("all_proxy", "socks://127.0.0.1:1080"),
        ("HTTPS_PROXY", "http://[::1"),
        ("http_proxy", "htp://proxy.example.org"),
        ("HTTPS_PROXY", "http://proxy.example.org:99999"),
        ("HTTPS_PROXY", "proxy.example.org:0"),
        ("SSL_CERT_FILE", "/nonexistent/cacert.pem"),
        ("SSL_CERT_FILE", __file__),
        ("SSLKEYLOGFILE", "/nonexistent/keys.log"),
    ],
)
def test_the_wrong_variable_is_named(name, value, monkeypatch, tmp_path):
    monkeypatch.setenv(name, value)
    with raises(VariableError, "invalid-variable", name, value, variable=name, value=value):
        next(download.download("http://127.0.0.1/x", tmp_path / "x.part", "again"))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("password", ["secret", "se/secret", "se#secret", "se?secret", "a@secret"])
@pytest.mark.parametrize("scheme", ["sock5://", "http://", ""])
def test_a_password_is_never_shown(scheme, password, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}me:{password}@127.0.0.1:port")
    with raises(VariableError, "invalid-variable", value=f"{scheme}127.0.0.1:port") as caught:
        connection.check_variables()
    told = connection.explain("https://weights.example", None)[0]
    assert f"{scheme}127.0.0.1:port" in told
    for text in (str(caught.value.to_json()), told):
        assert "secret" not in text and "me:" not in text


def test_nor_is_it_in_an_address_without_a_scheme(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http//me:se/secret@127.0.0.1:9")
    told = connection.explain("https://weights.example", None)[0]
    assert "127.0.0.1:9" in told and "secret" not in told


def test_the_path_of_a_file_is_shown_whole(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/me@work/cacert.pem")
    with raises(VariableError, "invalid-variable", value="/nonexistent/me@work/cacert.pem"):
        connection.check_variables()


def test_a_proxy_that_is_down_is_named_but_only_where_it_is_used(monkeypatch, tmp_path):
    port = free_port()
    monkeypatch.setenv("HTTP_PROXY", f"me:secret@127.0.0.1:{port}")
    with raises(
        DownloadError, "unreachable", "HTTP_PROXY", f"127.0.0.1:{port}", variable="HTTP_PROXY"
    ) as caught:
        next(download.download("http://weights.example/x", tmp_path / "x.part", "again"))
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(Shelf(b"weights")) as shelf:
        assert list(download.download(f"{shelf.url}/x", tmp_path / "x.part", "again"))
    assert connection.proxy_variable("http://127.0.0.1/") is None


def test_the_certificates_that_were_used_are_named(monkeypatch):
    error = OSError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    assert connection.explain("https://weights.example", error)[1] == {}
    monkeypatch.setenv("SSL_CERT_DIR", "/nonexistent")
    assert connection.explain("https://weights.example", error)[1] == {"variable": "SSL_CERT_DIR"}


def test_another_hub_must_be_an_address(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "hub.example.org")
    with raises(VariableError, "invalid-variable", "HF_ENDPOINT", variable="HF_ENDPOINT"):
        fetch.plan("resnet18")
