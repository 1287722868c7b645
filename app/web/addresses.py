"""The addresses at which other computers can reach this one. Nothing is sent and no names are
looked up.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import sys

PROBE_TARGETS = (
    "192.0.2.1",
    "192.168.255.254",
    "10.255.255.254",
    "172.31.255.254",
    "169.254.255.254",
)
"""An address outside any network, for the default route, and one in each private network."""


def addresses(host: str) -> list[str]:
    """Addresses at which an app listening on `host` can be reached from elsewhere, best guess
    first; may be empty.
    """
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return [] if host == "localhost" else [host]
    if not ip.is_unspecified:
        return [] if ip.is_loopback else [host]
    candidates = [a for a in map(_source_address, PROBE_TARGETS) if a] + _interface_addresses()
    reachable = [
        a
        for a in dict.fromkeys(candidates)
        if not (ipaddress.ip_address(a).is_loopback or ipaddress.ip_address(a).is_unspecified)
    ]
    return sorted(reachable, key=_rank)


def canonical(host: str) -> str:
    """A host's name in lower case, or its address as browsers write it: IPv6 in its short form,
    here without brackets.
    """
    host = host.lower()
    if re.fullmatch(r"\[.*:.*\]", host):
        host = host[1:-1]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def link(host: str, port: int, root: str = "") -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{root}/"


def _rank(address: str) -> int:
    """Networks of virtual machines and containers come after the usual ones; self-assigned
    addresses come last.
    """
    ip = ipaddress.ip_address(address)
    return 2 if ip.is_link_local else 1 if ip in ipaddress.ip_network("172.17.0.0/16") else 0


def _source_address(target: str) -> str | None:
    """The local address this computer would use to send there: found by connecting a datagram
    socket without writing to it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
            return probe.getsockname()[0]
        except OSError:
            return None


def _interface_addresses() -> list[str]:
    """Each interface's address, if the system provides it without name lookups (Linux)."""
    if not sys.platform.startswith("linux"):
        return []
    import fcntl
    import struct

    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                ifreq = fcntl.ioctl(
                    probe, 0x8915, struct.pack("256s", name.encode()[:15])
                )  # SIOCGIFADDR
            except OSError:
                continue  # it has no address
            found.append(socket.inet_ntoa(ifreq[20:24]))
    return found
