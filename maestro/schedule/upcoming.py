"""What a schedule does next, for people: what firing will decide, by the same functions. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from maestro.schedule.timing import Fate, Instant, Timing, between, wakes_after


@dataclass(frozen=True)
class Upcoming:
    """An instant that is to come, and when its job is made; None when none will be."""

    instant: Instant
    runs_at: datetime | None


def upcoming(
    timing: Timing, jitter: timedelta, now: datetime, count: int, known: Collection[datetime] = ()
) -> list[Upcoming]:
    """The next `count` instants undecided at `now`, of whatever fate; fewer when there are no more.

    `known` nominal instants have their occurrence, though an edit has brought them up again.
    """
    return [
        Upcoming(instant, instant.effective + jitter if instant.fate is Fate.RUNS else None)
        for instant in islice(_instants(timing, now - jitter, known), count)
    ]


def _instants(timing: Timing, after: datetime, known: Collection[datetime]) -> Iterator[Instant]:
    while (at := wakes_after(timing, after)) is not None:
        # One that comes up again at its nominal time was decided when it ran, on the business day before.
        found = [each for each in between(timing, after, at) if each.fate is not Fate.UNREACHED]
        yield from _without(found, known)
        after = at


def _without(found: list[Instant], known: Collection[datetime]) -> Iterator[Instant]:
    """Less those known. Of those to be merged into such a one the first runs in its place, as in firing."""
    heirs: dict[datetime, datetime] = {}
    for each in found:
        if each.nominal in known:
            continue
        if each.merged_into not in known:
            yield each
            continue
        heir = heirs.setdefault(each.effective, each.nominal)
        runs = heir == each.nominal
        yield replace(
            each,
            fate=Fate.RUNS if runs else Fate.MERGED,
            reason="Holiday" if runs else each.reason,
            message="Its calendar moved it to this time." if runs else each.message,
            merged_into=None if runs else heir,
        )
