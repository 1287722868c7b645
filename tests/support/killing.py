"""A run in its own process, to be killed: `python -m tests.support.killing FOLDER SEED KILLS`.

Prints one JSON line per kill and one at the end.

The parent imports torch once and never computes; each attempt is a fork that runs or resumes
until the parent sends it SIGKILL at a random moment. After the last kill, one more fork runs to the
end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from kgen.data import data
from kgen.journal.reading import JournalError
from kgen.journal.runner import Runner
from tests.support.small import few_images, grain


def attempt(folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    data.test_set = few_images
    if (folder / "recipe.json").exists():
        Runner.resume(folder, checkpoint_seconds=0.0).run()
    else:
        Runner.new(grain(), folder, checkpoint_seconds=0.0).run()


def fork(folder: Path) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            attempt(folder)
            status = 0
        except JournalError as error:
            status = 3 if error.code == "finished" else 1
            print(error, file=sys.stderr)
        finally:
            os._exit(status)
    return child


def attempts(folder: Path) -> int:
    """How many attempts have begun: 0 until the run folder exists."""
    path = folder / "run.json"
    return json.loads(path.read_text())["attempt"] if path.exists() else 0


def await_attempt(folder: Path, number: int, child: int) -> None:
    """Return once the attempt has begun, or its process has ended, or after a minute."""
    limit = time.monotonic() + 60
    while (
        attempts(folder) < number
        and time.monotonic() < limit
        and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        time.sleep(0.005)


def main(folder: Path, seed: int, kills: int) -> None:
    import torch._dynamo  # noqa: F401 - what the first optimizer imports for a second or two, once for all forks

    rng = random.Random(seed)
    few_images("fashion-mnist")
    whole = fork(folder / "whole")
    await_attempt(folder / "whole", 1, whole)
    start = time.monotonic()
    code = os.waitstatus_to_exitcode(os.waitpid(whole, 0)[1])
    lasting = time.monotonic() - start
    print(json.dumps({"whole": code, "seconds": lasting}), flush=True)
    run = done = 0
    while done < kills:
        at, child = folder / str(run), fork(folder / str(run))
        if rng.random() < 0.8:  # the others may also be killed during setup
            await_attempt(at, attempts(at) + 1, child)
        time.sleep(rng.uniform(0.0, 0.6) * lasting)
        os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        done += code == -signal.SIGKILL
        print(json.dumps({"run": run, "code": code, "attempt": attempts(at)}), flush=True)
        if code in (0, 3) or attempts(at) >= 5:
            finish(at)
            run += 1
    finish(folder / str(run))


def finish(folder: Path) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(fork(folder), 0)[1])
    print(json.dumps({"finished": folder.name, "code": code}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
