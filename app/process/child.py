"""The app's engine process: a child that never runs a user's Python file."""

from __future__ import annotations

from pathlib import Path

from app.live.narration import FOR_THE_PRESENTER
from kgen.nets.own_code import child_environment
from kgen.system import child
from kgen.system.child import COMMAND
from kgen.system.child import NEW_GROUP as NEW_GROUP
from kgen.system.child import OWN_SESSION as OWN_SESSION


class Child(child.Child):
    """See `kgen.system.child.Child`."""

    def __init__(self, log: Path | None, command: tuple[str, ...] = COMMAND):
        super().__init__(log, command, child_environment())

    def exit_message(self, public: bool = False) -> str:
        """How it ended, in a sentence. `public`: without its error and the log's last line, which
        may contain paths on this machine.
        """
        if not public:
            return super().exit_message()
        return FOR_THE_PRESENTER if self.error else self.ending
