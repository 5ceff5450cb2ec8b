"""Runs the bot of one job in a process of its own and gathers what it writes and how it ends.

In its own process, since a bot may block for hours, crash or use up the memory while the worker keeps the
broker's heartbeat and reports; and in its own session, so that what the bot leaves behind (a browser) can be
ended with it.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

from maestro.worker.frames import FrameReader, Kind
from maestro.worker.lines import Line, LineSplitter, pieces, storable, storable_json
from maestro.worker.message import JobMessage
from maestro.worker.sdk import UNKNOWN, Progress
from maestro.worker.settings import WorkerSettings

logger = logging.getLogger(__name__)

# The streams' levels: a bot that means more says it with `logging`.
STDOUT_LEVEL, STDERR_LEVEL = "INFO", "WARNING"

_TICK = 0.25
_READ = 65_536
_AFTER_OUTCOME = 10.0
"""What a bot's threads and atexit functions get once its `run` has ended."""
_AFTER_EXIT = 2.0
"""How long output is read from what left the bot's session and so outlives it."""

# The bot has no use for the worker's credentials.
_KEPT_FROM_BOT = ("MAESTRO_AMQP_URL", "MAESTRO_WORKER_KEY")


class LineSink(Protocol):
    """Where the bot's lines go. While it has no room, the bot waits at its next line."""

    def put(self, line: Line) -> None: ...
    def has_room(self) -> bool: ...


@dataclass(frozen=True)
class Outcome:
    """How the bot ended: a finish state of the contract, and the result."""

    status: str
    result: dict[str, Any] | None = None

    @classmethod
    def failed(cls, error: str, error_type: str) -> Outcome:
        """A failure that the bot did not get to report itself."""
        return cls("failed", {"error": error, "error_type": error_type, "error_class": UNKNOWN})


class Bot:
    """One run of the bot. `run` blocks; `cancel` and `kill` come from other threads."""

    def __init__(self, settings: WorkerSettings, job: JobMessage, attempt: int, lines: LineSink) -> None:
        self._settings, self._job, self._attempt, self._lines = settings, job, attempt, lines
        self._cancel = threading.Event()
        self._outcome: Outcome | None = None
        self._frames = FrameReader()
        # By process, or 0 for what bypasses the frames: half a line of one is not continued by another.
        self._splitters: defaultdict[tuple[int, Kind], LineSplitter] = defaultdict(LineSplitter)
        self._process: subprocess.Popen[bytes] | None = None
        self._times = _Times()
        self.progress = Progress()
        """The latest that the bot told."""

    def cancel(self) -> None:
        """Let the bot know that its job is canceled; past its grace it is stopped."""
        self._cancel.set()

    def kill(self) -> None:
        """End the bot and whatever it started, now."""
        if self._process is not None:
            _kill_session(self._process)

    def run(self) -> Outcome:
        """Run to the end. Always gives an outcome."""
        channel, control = _Pipe(), _Pipe()
        try:
            process = self._spawn(channel, control)
        except OSError as error:
            _close(channel.read_end, channel.write_end, control.read_end, control.write_end)
            return Outcome.failed(f"The bot's process could not be started: {error}.", type(error).__name__)
        _close(channel.write_end, control.read_end)
        self._process = process
        try:
            self._tell(control.write_end, {**self._job.for_bot(), "attempt": self._attempt})
            self._gather(process, channel.read_end, control.write_end)
        finally:
            _kill_session(process)
            process.wait()
            _close(channel.read_end, control.write_end)
        return self._outcome or self._died(process.returncode)

    def _spawn(self, channel: _Pipe, control: _Pipe) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "maestro.worker.child", str(channel.write_end), str(control.read_end)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(channel.write_end, control.read_end),
            env=self._environment(),
            start_new_session=True,
        )

    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name not in _KEPT_FROM_BOT}
        for name, value in (("SCRIPT", self._settings.script), ("MODULE", self._settings.module)):
            environment.pop(f"MAESTRO_{name}", None)
            if value:
                environment[f"MAESTRO_{name}"] = str(value)
        return environment | {"MAESTRO_LOG_LEVEL": self._settings.log_level, "PYTHONUNBUFFERED": "1"}

    @staticmethod
    def _tell(control: int, message: object) -> None:
        rest = memoryview(json.dumps(message).encode() + b"\n")
        # A broken pipe: it died at once, and its exit code says so.
        with suppress(BrokenPipeError):
            while rest:
                rest = rest[os.write(control, rest) :]

    def _gather(self, process: subprocess.Popen[bytes], channel: int, control: int) -> None:
        with selectors.DefaultSelector() as selector, process:
            selector.register(channel, selectors.EVENT_READ, self._take_frames)
            for stream, kind in ((process.stdout, Kind.STDOUT), (process.stderr, Kind.STDERR)):
                selector.register(stream or -1, selectors.EVENT_READ, partial(self._take_output, 0, kind))
            while not self._ended(process, selector):
                self._read_some(selector, process)
                self._enforce(process, control)
        for (_, kind), splitter in self._splitters.items():
            self._put_all(kind, splitter.close())

    def _ended(self, process: subprocess.Popen[bytes], selector: selectors.BaseSelector) -> bool:
        if process.poll() is None:
            return False
        if not self._times.exited:
            self._times.exited = time.monotonic()
            _kill_session(process)
        return not selector.get_map() or time.monotonic() > self._times.exited + _AFTER_EXIT

    def _read_some(self, selector: selectors.BaseSelector, process: subprocess.Popen[bytes]) -> None:
        if not selector.get_map():
            try:
                process.wait(_TICK)
            except subprocess.TimeoutExpired:
                return
        elif not self._lines.has_room():
            time.sleep(_TICK)
            # Time in which nothing may be read is not time in which nothing was written.
            self._times.exited = self._times.exited and time.monotonic()
        else:
            for key, _ in selector.select(_TICK):
                data = os.read(key.fd, _READ)
                if not data:
                    selector.unregister(key.fileobj)
                key.data(data)

    def _take_output(self, process: int, kind: Kind, data: bytes) -> None:
        self._put_all(kind, self._splitters[process, kind].feed(data))

    def _take_frames(self, data: bytes) -> None:
        for process, kind, payload in self._frames.feed(data):
            match kind:
                case Kind.STDOUT | Kind.STDERR:
                    self._take_output(process, kind, payload)
                case Kind.RECORD:
                    self._put_record(json.loads(payload))
                case Kind.PROGRESS:
                    self._take_progress(json.loads(payload))
                case Kind.OUTCOME:
                    told = json.loads(payload)
                    self._outcome = Outcome(told["status"], storable_json(told["result"]))
                    self._times.reported = time.monotonic()

    def _take_progress(self, told: dict[str, Any]) -> None:
        """What is told later goes over what was told before; what it leaves out stays."""
        message = told["message"] and storable(told["message"])
        fraction = self.progress.fraction if told["fraction"] is None else told["fraction"]
        self.progress = Progress(fraction, self.progress.message if message is None else message)

    def _put_all(self, kind: Kind, messages: list[str]) -> None:
        level = STDOUT_LEVEL if kind is Kind.STDOUT else STDERR_LEVEL
        for message in messages:
            self._lines.put(Line(level, message))

    def _put_record(self, record: dict[str, Any]) -> None:
        moment = datetime.fromtimestamp(record["time"], UTC)
        for piece in pieces(storable(record["message"])):
            self._lines.put(Line(record["level"], piece, moment, record["actionable"]))

    def _enforce(self, process: subprocess.Popen[bytes], control: int) -> None:
        """Pass a cancellation on, and end what does not end by itself."""
        now, times = time.monotonic(), self._times
        if self._cancel.is_set() and not times.canceled:
            times.canceled = now
            self._tell(control, "cancel")
        if times.reported:
            if now > times.reported + _AFTER_OUTCOME:
                self.kill()
        elif times.canceled and now > times.canceled + self._settings.cancellation_grace_seconds:
            self._stop(process, now)

    def _stop(self, process: subprocess.Popen[bytes], now: float) -> None:
        times, grace = self._times, self._settings.cancellation_grace_seconds
        if not times.terminated:
            times.terminated = now
            self._lines.put(
                Line("WARNING", f"Canceled, and not ended within {grace:g} s: the bot is terminated.")
            )
            process.terminate()
        elif now > times.terminated + self._settings.termination_seconds:
            self.kill()

    def _died(self, code: int) -> Outcome:
        if self._times.terminated:
            return Outcome("canceled", {"error": "The bot was killed, because its job was canceled."})
        return Outcome.failed(_death(code), "BotDied")


@dataclass
class _Times:
    """When things happened to the process: monotonic seconds, 0 for not yet."""

    canceled: float = 0
    terminated: float = 0
    reported: float = 0
    exited: float = 0


class _Pipe:
    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()


def _death(code: int) -> str:
    if code >= 0:
        return f"The bot's process ended with exit code {code} before its run() returned."
    name = signal.Signals(-code).name if -code in signal.valid_signals() else str(-code)
    hint = (
        " Most often that is the memory limit: raise spec.worker.resources.limits.memory."
        if name == "SIGKILL"
        else ""
    )
    return f"The bot's process was killed by signal {name}.{hint}"


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
