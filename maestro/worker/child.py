"""The bot's own process: loads the bot, runs it, and tells the runner what it writes and how it ends.

Started as `python -m maestro.worker.child CHANNEL CONTROL`: two inherited pipe ends. The runner writes
the job to CONTROL as one JSON line, and `cancel` as another when that is asked; its end means the runner is
gone. To CHANNEL go frames: output, log records, the outcome. Output passes there rather than through
descriptors 1 and 2 so that `print` and `logging` keep their order; what other programs write to 1 and 2 the
runner reads too.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import importlib.util
import inspect
import io
import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any

from maestro.worker.frames import FrameWriter, Kind
from maestro.worker.sdk import UNKNOWN, Context, NoData, Progress

MAX_TRACEBACK = 16_384
MAX_ERROR = 4_096
MAX_PROGRESS_MESSAGE = 1_024

Outcome = dict[str, Any]


class TerminatedByRunner(BaseException):
    """SIGTERM: raised in the bot, so that its `finally` blocks run."""


class UnusableBotError(Exception):
    """The bot can't be run as it is; the message says what to mend."""


class _OutputStream(io.RawIOBase):
    """What stands for sys.stdout and sys.stderr; `fileno` is the real one, for programs the bot starts."""

    def __init__(self, writer: FrameWriter, kind: Kind, descriptor: int) -> None:
        self._writer, self._kind, self._descriptor = writer, kind, descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        payload = bytes(data)
        self._writer.write(self._kind, payload)
        return len(payload)


class _RecordHandler(logging.Handler):
    """Each record, traceback included, is one message."""

    def __init__(self, writer: FrameWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = {
                "level": _level(record.levelno),
                "message": self.format(record),
                "time": record.created,
                "actionable": bool(getattr(record, "actionable", False)),
            }
        except Exception:  # noqa: BLE001 - a bad format argument is the bot's slip, shown as logging shows it
            self.handleError(record)
            return
        self._writer.write(Kind.RECORD, json.dumps(line).encode())


def _level(number: int) -> str:
    for name in ("CRITICAL", "ERROR", "WARNING", "INFO"):
        if number >= int(getattr(logging, name)):
            return name
    return "DEBUG"


def _redirect(writer: FrameWriter) -> None:
    streams = [(Kind.STDOUT, 1), (Kind.STDERR, 2)]
    sys.stdout, sys.stderr = (
        # write_through: a bot killed in the middle of a line has still said the first half.
        io.TextIOWrapper(_OutputStream(writer, kind, fd), "utf-8", "backslashreplace", write_through=True)  # type: ignore[type-var]
        for kind, fd in streams
    )
    faulthandler.enable(2)
    root = logging.getLogger()
    root.addHandler(_RecordHandler(writer))
    root.setLevel(os.environ.get("MAESTRO_LOG_LEVEL", "").upper() or logging.INFO)


def _load() -> ModuleType:
    script = os.environ.get("MAESTRO_SCRIPT")
    return _load_script(Path(script)) if script else importlib.import_module(os.environ["MAESTRO_MODULE"])


def _load_script(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location("bot", path)
    if specification is None or specification.loader is None:
        raise UnusableBotError(f"{path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(specification)
    # Beside it lie its own modules, and dataclasses and pickle look a module up by name.
    sys.path.insert(0, str(path.parent))
    sys.modules["bot"] = module
    specification.loader.exec_module(module)
    return module


def _run_function() -> Callable[..., Any]:
    what = os.environ.get("MAESTRO_SCRIPT") or os.environ.get("MAESTRO_MODULE") or ""
    try:
        module = _load()
    except FileNotFoundError as error:
        if error.filename != what:
            raise
        raise UnusableBotError(f"The bot's script {what} does not exist.") from None
    run = getattr(module, "run", None)
    if not callable(run):
        raise UnusableBotError(f"{what} has no function `run`; write `def run(parameters, context):` in it.")
    return run  # type: ignore[no-any-return]


def _call(context: Context) -> Any:
    returned = _run_function()(context.parameters, context)
    return asyncio.run(_await(returned)) if inspect.isawaitable(returned) else returned


async def _await(awaitable: Any) -> Any:
    return await awaitable


def _outcome(context: Context) -> Outcome:
    try:
        return _returned(_call(context), context)
    except TerminatedByRunner:
        return {
            "status": "canceled",
            "result": {"error": "The bot was told to stop, because its job was canceled."},
        }
    except SystemExit as error:
        if error.code in (None, 0):
            return _returned(None, context)
        return _failed(UnusableBotError(f"The bot called sys.exit({error.code!r})."), context)
    except BaseException as error:  # noqa: BLE001 - whatever a bot raises is its result
        return _failed(error, context)


def _returned(value: Any, context: Context) -> Outcome:
    status = "completed"
    if isinstance(value, NoData):
        value, status = value.result, "completed_no_invoices"
    if context._seen:
        status = "canceled"
    if value is None:
        return {"status": status, "result": None}
    if not isinstance(value, dict):
        raise UnusableBotError(f"The bot's run() must return a dict or None, not {type(value).__name__}.")
    _refuse_non_json(value)
    return {"status": status, "result": value}


def _refuse_non_json(result: dict[str, Any]) -> None:
    try:
        json.dumps(result, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        where = _first_non_json(result, "result") or str(error)
        raise UnusableBotError(
            f"The bot's result can't be written as JSON: {where}. Convert it, for example with str()."
        ) from None


def _first_non_json(value: Any, path: str) -> str | None:
    match value:
        case dict():
            found = (_first_non_json(item, f"{path}[{key!r}]") for key, item in value.items())
        case list() | tuple():
            found = (_first_non_json(item, f"{path}[{index}]") for index, item in enumerate(value))
        case _:
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                return f"{path} is {value!r:.80} ({type(value).__name__})"
            return None
    try:
        return next((what for what in found if what), None)
    except RecursionError:
        return f"{path} contains itself"


def _failed(error: BaseException, context: Context) -> Outcome:
    named = getattr(error, "error_class", None)
    text = _traceback(error)
    logging.getLogger("bot").error("The bot failed: %s", text)
    return {
        "status": "canceled" if context._seen else "failed",
        "result": {
            "error": (str(error) or type(error).__name__)[:MAX_ERROR],
            "error_type": type(error).__name__,
            "error_class": named if isinstance(named, str) else UNKNOWN,
            "traceback": text,
        },
    }


def _traceback(error: BaseException) -> str:
    """From the bot's first frame on, without the runner's; its end when it is long."""
    if isinstance(error, UnusableBotError):
        return str(error)
    frames = _bots_frames(error.__traceback__)
    text = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    return text if len(text) <= MAX_TRACEBACK else "[…]\n" + text[-MAX_TRACEBACK:]


def _bots_frames(frames: TracebackType | None) -> TracebackType | None:
    own = (__file__, "<frozen importlib", importlib.__file__ or "", asyncio.__path__[0])
    while frames and frames.tb_frame.f_code.co_filename.startswith(own):
        frames = frames.tb_next
    return frames


def _tell_progress(writer: FrameWriter, progress: Progress) -> None:
    fraction = None if progress.fraction is None else float(progress.fraction)
    message = None if progress.message is None else str(progress.message)[:MAX_PROGRESS_MESSAGE]
    writer.write(Kind.PROGRESS, json.dumps({"fraction": fraction, "message": message}).encode())


def _listen(control: Any, context: Context) -> None:
    """Until the job ends: a line is a cancellation; the end of the pipe, the end of the runner."""
    while control.readline():
        context._cancelled.set()
    os.kill(os.getpid(), signal.SIGTERM)


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise TerminatedByRunner


def _die_of_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _be_first_to_go() -> None:
    # When the pod runs out of memory the kernel takes this process, not the runner that reports it.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def main(arguments: list[str]) -> None:
    """Run one job and leave."""
    channel, control_end = map(int, arguments)
    control = os.fdopen(control_end, "rb")
    job = json.loads(control.readline())
    writer = FrameWriter(channel)
    _redirect(writer)
    _be_first_to_go()
    signal.signal(signal.SIGTERM, _terminate)
    os.register_at_fork(after_in_child=_die_of_sigterm)
    context = Context(**job, _tell=partial(_tell_progress, writer))
    threading.Thread(target=_listen, args=(control, context), daemon=True).start()
    outcome = _outcome(context)
    # A late SIGTERM must not interrupt the report of what already happened.
    _die_of_sigterm()
    sys.stdout.flush()
    sys.stderr.flush()
    writer.write(Kind.OUTCOME, json.dumps(outcome).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
