"""What a bot's code may import or is handed: `Context`, `BotError`, `NoData`. Standard library only.

A bot is `def run(parameters: dict, context) -> dict | None`, sync or async. How it ends decides the job:

    returns a dict or None            completed
    returns context.no_data({...})    completed_no_invoices
    raises                            failed, with error, error_type, error_class and traceback
    ends after it saw `cancelled`     canceled, whether it returned or raised
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

UNKNOWN = "UNKNOWN"


class BotError(Exception):
    """A failure whose class is known: CREDENTIAL_INVALID, PORTAL_DOWN, RATE_LIMITED and so on.

    Any exception with a string attribute `error_class` works alike; this one saves declaring it.
    """

    def __init__(self, message: str, error_class: str = UNKNOWN) -> None:
        super().__init__(message)
        self.error_class = error_class


@dataclass(frozen=True)
class NoData:
    """The bot did its work and there was nothing to fetch: the job ends completed_no_invoices."""

    result: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Progress:
    """How far a bot has come: `fraction` from 0 to 1, and what it is doing."""

    fraction: float | None = None
    message: str | None = None


@dataclass
class Context:
    """The job a bot works on."""

    job_id: str
    attempt: int
    parameters: dict[str, Any]
    automation_id: int | None = None
    script_path: str | None = None
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("bot"))
    _cancelled: threading.Event = field(default_factory=threading.Event, repr=False)
    _seen: bool = field(default=False, repr=False)
    _tell: Callable[[Progress], None] = field(default=lambda _: None, repr=False)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to cancel this job; learnt within about 30 s.

        Look at it between two steps and return when it is true: a minute later the bot is stopped.
        """
        if self._cancelled.is_set():
            self._seen = True
        return self._seen

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until a cancellation; true when there is one."""
        self._cancelled.wait(seconds)
        return self.cancelled

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """Show how far the job has come: `fraction` from 0 to 1, `message` what the bot is doing.

        The latest is shown within some seconds; call it as often as you like. Raises ValueError when
        `fraction` is not from 0 to 1.
        """
        if fraction is not None and not 0 <= fraction <= 1:
            raise ValueError(f"progress goes from 0 to 1, not {fraction!r}")
        self._tell(Progress(fraction, message))

    @staticmethod
    def no_data(result: Mapping[str, Any] | None = None) -> NoData:
        """What to return when there was nothing to fetch."""
        return NoData(result)
