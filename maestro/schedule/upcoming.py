"""What a schedule does next, for people: what firing will decide, by the same functions. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from maestro.schedule.timing import Fate, Instant, Timing, between, wakes_after


@dataclass(frozen=True)
class Upcoming:
    """An instant that is to come, and when its job is made; None when none will be."""

    instant: Instant
    runs_at: datetime | None


def upcoming(timing: Timing, jitter: timedelta, now: datetime, count: int) -> list[Upcoming]:
    """The next `count` instants undecided at `now`, of whatever fate; fewer when there are no more."""
    return [
        Upcoming(instant, instant.effective + jitter if instant.fate is Fate.RUNS else None)
        for instant in islice(_instants(timing, now - jitter), count)
    ]


def _instants(timing: Timing, after: datetime) -> Iterator[Instant]:
    while (at := wakes_after(timing, after)) is not None:
        # One that comes up again at its nominal time was decided when it ran, on the business day before.
        yield from (found for found in between(timing, after, at) if found.fate is not Fate.UNREACHED)
        after = at
