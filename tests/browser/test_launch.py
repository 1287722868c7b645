"""Starting the app where it cannot be started: an exit code and one sentence, no traceback."""

from __future__ import annotations

import socket
import subprocess
import sys

from kgen.system.paths import ROOT
from tests.support.serving import START_SECONDS


def test_a_port_in_use_is_said_in_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [
                sys.executable,
                "launch.py",
                "--no-browser",
                "--port",
                str(port),
                "--runs",
                str(tmp_path / "runs"),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )
    assert ended.returncode == 2
    assert ended.stdout == "" and ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"Port {port} is in use. Choose another with --port")
