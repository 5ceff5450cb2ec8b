"""When a schedule runs: its cron in its zone, moved or skipped by its calendar. Pure.

Whatever shows instants and whatever fires them asks these functions, so what is shown is what runs.

- nominal: what cron says, in UTC.
- effective: where the calendar moved it; the same without a move.

`startTime` and `endTime` bound the nominal instant. Jitter is no concern of this module's but for its amount:
it is added to whatever is found here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from maestro.calendar.model import Calendar
from maestro.schedule.cron import Cron


class OnHoliday(StrEnum):
    """What becomes of an instant on a day that is no business day."""

    SKIP = "Skip"
    PREVIOUS = "Previous"
    NEXT = "Next"
    RUN = "Run"


class Fate(StrEnum):
    """What cron and calendar make of a nominal instant."""

    RUNS = "runs"
    SKIPPED = "skipped"
    MERGED = "merged"
    """Another one runs at the same effective instant."""
    UNREACHED = "unreached"
    """Its effective instant lies before the span asked about (Previous): whoever decided that time decided
    it too, unless the holiday was not known yet, or the schedule was not there yet."""


@dataclass(frozen=True)
class Timing:
    """When a schedule runs."""

    cron: Cron
    zone: ZoneInfo
    calendar: Calendar | None = None
    on_holiday: OnHoliday = OnHoliday.SKIP
    start: datetime | None = None
    """The first nominal instant there may be; none before."""
    end: datetime | None = None
    """The last nominal instant there may be."""


@dataclass(frozen=True)
class Instant:
    """A nominal instant and what becomes of it. Times are UTC."""

    nominal: datetime
    effective: datetime
    """Of one that is skipped the nominal one."""
    fate: Fate
    reason: str = ""
    """Why it does not run, or not at its nominal time: Holiday, NoBusinessDay, Merged, HolidayKnownTooLate."""
    message: str = ""
    """The same, a sentence."""
    merged_into: datetime | None = None
    """Of a merged one, the nominal instant of the one that runs."""

    @property
    def at(self) -> datetime:
        """When it is decided: the effective instant, or the nominal one where it does not run at that."""
        return self.nominal if self.fate in (Fate.SKIPPED, Fate.UNREACHED) else self.effective


def between(timing: Timing, after: datetime, until: datetime) -> list[Instant]:
    """Every instant decided in (after, until], by its `at` and then by its nominal time.

    Adjoining spans give each nominal instant exactly once, UNREACHED aside: one that Previous moved before
    `after` comes once more as such at its nominal time. Takes time with the number of instants.
    """
    raise NotImplementedError


def runs_after(timing: Timing, after: datetime) -> Iterator[Instant]:
    """Those that run with an effective instant after `after`, in its order, lazily.

    Ends when there are no more: past `end`, or with no business day in the calendar.
    """
    raise NotImplementedError


def wakes_after(timing: Timing, after: datetime) -> datetime | None:
    """The first time after `after` at which an instant is decided, of whatever fate; None when none ever is."""
    raise NotImplementedError


def previous_run(timing: Timing, nominal: datetime) -> datetime | None:
    """The nominal instant of the run before the one of this nominal instant; None when it is the first."""
    raise NotImplementedError


def count_runs(timing: Timing, after: datetime, until: datetime) -> int:
    """How many run in (after, until], by effective instant. Takes time with the number of days, not of runs."""
    raise NotImplementedError


def jitter_of(namespace: str, name: str, seconds: int) -> timedelta:
    """The constant delay of that schedule: whole seconds from 0 to `seconds`, the same in every process."""
    raise NotImplementedError
