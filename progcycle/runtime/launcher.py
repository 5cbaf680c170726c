"""The launcher that started this process, torchrun or accelerate launch, and whether it is still there."""

import os
import time

LAUNCH_VARIABLE = "ACCELERATE_MIXED_PRECISION"  # accelerate launch sets it for what it starts
ELASTIC_VARIABLE = "TORCHELASTIC_RUN_ID"  # and torchrun this
MOMENT = 1.0  # seconds; the sockets of a process that is killed are closed before its children have another parent


class Launcher:
    """The process that started this one, if it is a launcher; to be made while it is there."""

    def __init__(self) -> None:
        self._pid = os.getppid() if LAUNCH_VARIABLE in os.environ or ELASTIC_VARIABLE in os.environ else None

    @property
    def has_gone(self) -> bool:
        """Whether there was a launcher, and is none any more."""
        return self._pid is not None and os.getppid() != self._pid

    def took_store_along(self) -> bool:
        """Whether it has gone, asked by one who has just lost the rendezvous store."""
        end = time.monotonic() + MOMENT
        while self._pid is not None and not self.has_gone and time.monotonic() < end:
            time.sleep(0.01)
        return self.has_gone
