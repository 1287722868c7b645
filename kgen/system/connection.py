"""The environment variables that decide how a download reaches its host, and which of them is
wrong.

httpx and urllib obey these variables, but their errors do not name them. Nothing is sent from here.
"""

from __future__ import annotations

import os
import re
import ssl
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from kgen.errors import KGenError

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class VariableError(KGenError, ValueError):
    """An environment variable that keeps downloads from starting."""

    code = "invalid-variable"


def check_variables() -> None:
    """Check the variables that every download reads, whatever its address. Raises VariableError."""
    import httpx

    for name, value in os.environ.items():
        if name.lower() in PROXIES and value:
            proxy = value if "://" in value else f"http://{value}"
            try:
                httpx.HTTPTransport(proxy=proxy, trust_env=False, verify=False).close()
                _check_port(proxy)
            except ImportError:
                raise _error(
                    name,
                    value,
                    'a SOCKS proxy needs the package socksio (pip install "httpx[socks]")',
                ) from None
            except (ValueError, httpx.InvalidURL):
                raise _error(
                    name, value, "expected a proxy such as http://proxy.example.org:3128"
                ) from None
    if log := os.environ.get("SSLKEYLOGFILE"):
        try:
            open(log, "a").close()
        except OSError as error:
            raise _error(
                "SSLKEYLOGFILE", log, f"the file cannot be written: {error.strerror}"
            ) from None
    if file := os.environ.get("SSL_CERT_FILE"):
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:  # ssl.SSLError among them
            reason = (
                "it contains no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            )
            raise _error(
                "SSL_CERT_FILE", file, f"the certificate file cannot be read: {reason}"
            ) from None
    try:
        httpx.Client().close()
    except (ValueError, httpx.InvalidURL):  # the only other variable that it reads
        name = next((n for n in os.environ if n.lower() == "no_proxy"), "NO_PROXY")
        raise _error(
            name, os.environ.get(name, ""), "expected host names, separated by commas"
        ) from None


def _check_port(proxy: str) -> None:
    """Raises ValueError for ports that cannot exist; httpx accepts port 0."""
    if urlsplit(proxy).port == 0:  # raises for ports above 65535
        raise ValueError("port 0")


def _error(name: str, value: str, reason: str) -> VariableError:
    shown = _without_password(value) if name.lower() in PROXIES else value
    return VariableError(
        f"The environment variable {name} is {shown!r}: {reason}. Correct it, or unset it if this"
        " connection does not need it.",
        variable=name,
        value=shown,
    )


def proxy_variable(url: str) -> str | None:
    """The name of the variable whose proxy leads to that address; None if there is none."""
    where = urlsplit(url)
    if urllib.request.proxy_bypass_environment(where.hostname or ""):  # type: ignore[attr-defined]  # missing in typeshed
        return None
    for wanted in (f"{where.scheme}_proxy", "all_proxy"):
        for name in (wanted, wanted.upper()):
            if os.environ.get(name):
                return name
    return None


def explain(url: str, error: BaseException | None) -> tuple[str, dict[str, Any]]:
    """How the environment variables may have caused a failed connection: a sentence, and its facts;
    both empty if they are unlikely to be the cause.
    """
    if error and "CERTIFICATE_VERIFY_FAILED" in str(error):
        name = next((n for n in CERTIFICATES if os.environ.get(n)), None)
        if name:
            return (
                f"Certificates are read from {os.environ[name]!r}, as set in the environment"
                f" variable {name}."
            ), {"variable": name}
        return (
            "If your network inspects encrypted connections, set SSL_CERT_FILE to the file with its"
            " certificate."
        ), {}
    if name := proxy_variable(url):
        value = _without_password(os.environ[name])
        return (
            f"The connection goes through the proxy {value}, as set in the environment variable"
            f" {name}."
        ), {"variable": name}
    return "", {}


def _without_password(value: str) -> str:
    """A proxy's address without user and password, which may contain characters that a URL does
    not allow there: everything up to the last @ is dropped.
    """
    address = value.rpartition("@")[2]
    scheme = re.match(r"[a-z][a-z0-9+.-]*://", value, re.IGNORECASE)
    return scheme[0] + address if scheme and address != value else address
