"""Log lines that are written a moment later, together."""

import logging
import threading
from time import sleep

GATHER_SECONDS = 0.1


class GatheringHandler(logging.StreamHandler):  # type: ignore[type-arg]  # of text
    """Writes to a file descriptor whatever came within a tenth of a second, warnings and worse at once.

    A system call for each line of the access log takes a hot call about as long as its own work.
    """

    def __init__(self, descriptor: int) -> None:
        stream = open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        super().__init__(stream)
        self._some = threading.Event()
        threading.Thread(target=self._keep_writing, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.stream.write(self.format(record) + self.terminator)
            if record.levelno >= logging.WARNING:
                self.flush()
            elif not self._some.is_set():
                self._some.set()
        except Exception:  # noqa: BLE001  # logging reports it itself
            self.handleError(record)

    def _keep_writing(self) -> None:
        while self._some.wait():
            sleep(GATHER_SECONDS)
            self._some.clear()
            self.flush()
