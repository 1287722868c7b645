"""The command that starts the app: its options, and the environment for importing Gradio."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import sys

from app.web.addresses import canonical
from kgen.system.terminal import replace_unprintable

# Gradio reads these on import: no telemetry, no lookups, and a short analytics table (it is
# aggregated after every event). The app talks only to itself, so it does not need a proxy.
ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_MAX_EVENTS": "50",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_PROXY": "*",  # without it, macOS and Windows would supply the proxies from their settings
}
NETWORK = re.compile(
    r"(https?|all|ftp|no)_proxy|ssl_cert_(file|dir)|(requests|curl)_ca_bundle|sslkeylogfile"
    r"|forwarded_allow_ips",
    re.IGNORECASE,
)
"""The environment's network variables: a misspelled proxy or a missing certificate file must not
keep the app from starting.
"""


def prepare_environment() -> dict[str, str]:
    """Call this before Gradio is imported. Returns the variables that it removed."""
    removed = {name: os.environ.pop(name) for name in list(os.environ) if NETWORK.fullmatch(name)}
    os.environ.update(ENVIRONMENT)
    return removed


def port_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; expected a number from 1 to 65535")
    return int(text)


def url_path(text: str) -> str:
    """It is written into the page, so only plain path characters are allowed."""
    if not re.fullmatch(r"[A-Za-z0-9._~/-]*", text):
        raise argparse.ArgumentTypeError(
            f"{text} is not a path; expected letters, digits, and / . _ ~ -"
        )
    return text


def listening_host(text: str) -> str:
    """The address as browsers write it, including Debian's names for ::1."""
    host = canonical(text)
    return "::1" if host in ("ip6-localhost", "ip6-loopback") else host


def host_name(text: str) -> str:
    from app.web.guard import HOST_PATTERN  # it does not import Gradio

    if not HOST_PATTERN.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text} is not a host name; expected something like kgen.example.org"
        )
    return text


def origin(text: str) -> str:
    """It is written into a header, so it must be an origin and nothing else."""
    from app.web.guard import ORIGIN_PATTERN

    if not ORIGIN_PATTERN.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text} is not an origin; expected something like https://course.example.org"
        )
    return text


def link(text: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._~/-]*)?", text):
        raise argparse.ArgumentTypeError(
            f"{text} is not an address; expected something like https://kgen.example.org/"
        )
    return text if text.endswith("/") else f"{text}/"


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="K-Gen Explorer: watch how a teacher's knowledge is distilled without data."
    )
    parser.add_argument(
        "--host",
        type=listening_host,
        default="127.0.0.1",
        help="address to listen on (default: this computer only)",
    )
    parser.add_argument(
        "--port", type=port_number, help="port (default: the first free one from 7860 up)"
    )
    parser.add_argument(
        "--runs", default="runs", metavar="DIR", help="folder for the runs (default: runs)"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument(
        "--no-recording",
        action="store_true",
        help="do not add the recorded runs to a folder without runs",
    )
    parser.add_argument(
        "--root-path",
        type=url_path,
        default="",
        metavar="PATH",
        help="path under which a proxy serves the app",
    )
    parser.add_argument(
        "--allow-host",
        type=host_name,
        action="append",
        default=[],
        metavar="NAME",
        help="also accept requests for this host name; repeatable",
    )
    parser.add_argument(
        "--allow-frame",
        type=origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let this site embed the app; repeatable",
    )
    parser.add_argument(
        "--presenter",
        action="store_true",
        help=(
            "with an audience: others can watch and follow, but only you are in control; use"
            " --host 0.0.0.0 to let them in"
        ),
    )
    parser.add_argument(
        "--token",
        help=(
            "the presenter's token (default: KGEN_TOKEN, or else a new one); other users of this"
            " computer may see it on the command line"
        ),
    )
    parser.add_argument(
        "--link",
        type=link,
        metavar="URL",
        help="address for the audience, if a proxy's address differs from this computer's",
    )
    args = parser.parse_args(argv)
    if not args.presenter and (args.token or args.link):
        parser.error(f"{'--token' if args.token else '--link'} only works with --presenter.")
    if args.presenter:
        from app.web.roles import resolve_token

        try:
            args.token = resolve_token(args.token)
        except ValueError as error:
            parser.error(str(error))
    return args


def main(argv: list[str] | None = None) -> int:
    replace_unprintable()
    args = arguments(argv)
    if not is_loopback(args.host) and not args.presenter:
        print(
            f"--host {args.host} could open the app to other computers without a token. To let an"
            f" audience watch while you are in control: python launch.py --host {args.host}"
            " --presenter",
            file=sys.stderr,
        )
        return 2
    args.shell = prepare_environment()
    from app.main import serve  # after the environment is set
    from app.web.errors import ServeError

    try:
        return serve(args)
    except ServeError as error:
        print(error, file=sys.stderr)
        return 2
