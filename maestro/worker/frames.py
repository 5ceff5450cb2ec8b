"""Messages through a pipe that several processes write to at once.

A bot may fork (multiprocessing), and the copies share its pipe to the runner. The kernel keeps a write of at
most PIPE_BUF bytes whole, so a message travels as frames of that size, each with its writer's process id, and
the reader puts them together per process.
"""

from __future__ import annotations

import os
import select
import struct
import threading
from enum import IntEnum

_HEADER = struct.Struct(">BBIH")  # kind, last frame of its message, process id, length
_ROOM = min(select.PIPE_BUF, 4096) - _HEADER.size


class Kind(IntEnum):
    """What a message is."""

    STDOUT = 1
    STDERR = 2
    RECORD = 3
    """A `logging` record, as JSON."""
    OUTCOME = 4
    """How the bot ended, as JSON."""
    PROGRESS = 5
    """How far the bot has come, as JSON."""


class FrameWriter:
    """The bot's end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._renew_lock()
        # A fork may copy the lock while another thread holds it.
        os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def write(self, kind: Kind, payload: bytes) -> None:
        """Send one message."""
        starts = range(0, max(len(payload), 1), _ROOM)
        with self._lock:
            for start in starts:
                part = payload[start : start + _ROOM]
                header = _HEADER.pack(kind, start == starts[-1], os.getpid(), len(part))
                os.write(self._descriptor, header + part)


class FrameReader:
    """The runner's end."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts: dict[tuple[int, int], bytearray] = {}

    def feed(self, data: bytes) -> list[tuple[int, Kind, bytes]]:
        """The messages that these bytes complete, each with the process that wrote it."""
        self._buffer += data
        messages = []
        offset = 0
        while len(self._buffer) - offset >= _HEADER.size:
            kind, last, process, length = _HEADER.unpack_from(self._buffer, offset)
            end = offset + _HEADER.size + length
            if len(self._buffer) < end:
                break
            parts = self._parts.setdefault((process, kind), bytearray())
            parts += self._buffer[offset + _HEADER.size : end]
            if last:
                messages.append((process, Kind(kind), bytes(self._parts.pop((process, kind)))))
            offset = end
        del self._buffer[:offset]
        return messages
