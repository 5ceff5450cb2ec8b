"""What becomes of the instants of a span of time that is over. Pure.

Within GRACE an instant fires as on time. What is later has been held up by an outage, and its schedule's
catchUp and startingDeadlineSeconds say what is made up for. All that is not is one verdict together.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from maestro.schedule.model import CatchUp
from maestro.schedule.occurrences import RAN, Outcome, Reason
from maestro.schedule.timing import Fate, Instant, Timing, between, count_runs, runs_after, wakes_after

GRACE = timedelta(seconds=60)
MOST_CAUGHT_UP = 100

_MOST_WRITTEN_OUT = 366
"""Of a longer row of instants that can't fire any more, those that would not have run get no verdict."""

_TICK = timedelta(microseconds=1)


class Rules(Protocol):
    """What a schedule says of lateness."""

    @property
    def catch_up_policy(self) -> str: ...
    @property
    def catch_up_window_seconds(self) -> int: ...
    @property
    def starting_deadline_seconds(self) -> int | None: ...


@dataclass(frozen=True)
class Verdict:
    """What becomes of a nominal instant, or of several missed ones. One that is to run may meet obstacles."""

    nominal: datetime
    effective: datetime
    outcome: Outcome
    reason: str | None = None
    message: str | None = None
    count: int = 1
    last_nominal: datetime | None = None
    merged_into: datetime | None = None


def decide(timing: Timing, rules: Rules, after: datetime, until: datetime) -> list[Verdict]:
    """The verdicts on all instants in (after, until], those that fire in order of their effective instants.

    `until` is now, less the schedule's jitter. A long outage takes time with its days, not with its runs.
    """
    first = wakes_after(timing, after)
    if first is None or first > until:
        return []
    after = first - _TICK
    border = max(after, until - _patience(rules) - _TICK)
    wanted = MOST_CAUGHT_UP if rules.catch_up_policy == CatchUp.ALL else 1
    begin, found = _latest(timing, border, until, wanted)
    recent = _decided_here(found, after)
    judged = list(_judge(recent, rules, until))
    lost = [instant for instant, verdict in judged if verdict is None]
    verdicts = [verdict for _, verdict in judged if verdict]
    old = _few(timing, after, begin)
    if old is None:
        many = _ends_of_many(timing, after, begin)
        count = count_runs(timing, after, begin) if many else 0
        missed = _missed(timing.zone, rules, many + lost, count + len(lost), until)
    else:
        old = _decided_here(old, after)
        lost = [instant for instant in old if instant.fate is Fate.RUNS] + lost
        verdicts = [verdict for instant in old if (verdict := _without_run(instant))] + verdicts
        missed = _missed(timing.zone, rules, lost, len(lost), until)
    return [missed, *verdicts] if missed else verdicts


def without_settled(verdicts: Sequence[Verdict], settled: Collection[datetime]) -> list[Verdict]:
    """Less those that have their occurrence, and that an edit of the calendar has brought up again.

    Of those that would have been merged into such a one, the first runs in its place.
    """
    by_nominal = {verdict.nominal: verdict for verdict in verdicts if verdict.nominal in settled}
    left: list[Verdict] = []
    heirs: dict[datetime, datetime] = {}
    for verdict in verdicts:
        if verdict.nominal in settled and verdict.outcome is not Outcome.MISSED:
            continue
        settled_one = by_nominal.get(verdict.merged_into) if verdict.merged_into else None
        if settled_one is None or settled_one.outcome not in RAN:
            left.append(verdict)
            continue
        heir = heirs.setdefault(settled_one.nominal, verdict.nominal)
        runs = heir == verdict.nominal
        left.append(_in_place_of(settled_one, verdict) if runs else replace(verdict, merged_into=heir))
    return left


def _in_place_of(settled: Verdict, merged: Verdict) -> Verdict:
    late = settled.outcome in (Outcome.LATE, Outcome.CAUGHT_UP)
    outcome = settled.outcome if late else Outcome.SHIFTED
    reason = settled.reason if late else "Holiday"
    message = settled.message if late else "Its calendar moved it to this time."
    return replace(merged, outcome=outcome, reason=reason, message=message, merged_into=None)


def _patience(rules: Rules) -> timedelta:
    """How late an instant may be and still fire."""
    seconds = GRACE.total_seconds()
    if rules.catch_up_policy != CatchUp.NONE:
        seconds = max(seconds, rules.catch_up_window_seconds)
    if rules.starting_deadline_seconds is not None:
        seconds = min(seconds, rules.starting_deadline_seconds)
    return timedelta(seconds=seconds)


def _latest(timing: Timing, after: datetime, until: datetime, wanted: int) -> tuple[datetime, list[Instant]]:
    """The beginning of a span up to `until`, and its instants: the `wanted` latest runs are among them.

    It begins after `after` and holds GRACE at least. Found by growing steps: there may be very many in all.
    """
    span = GRACE + _TICK
    while True:
        begin = max(after, until - span)
        found = between(timing, begin, until)
        if begin == after or sum(each.fate is Fate.RUNS for each in found) >= wanted:
            return begin, found
        span *= 4


def _few(timing: Timing, after: datetime, until: datetime) -> list[Instant] | None:
    """All instants in (after, until]; None when they are more than get verdicts one by one."""
    found: list[Instant] = []
    span = timedelta(hours=1)
    while after < until:
        end = min(until, after + span)
        found += between(timing, after, end)
        if len(found) > _MOST_WRITTEN_OUT:
            return None
        after, span = end, span * 2
    return found


def _decided_here(instants: Sequence[Instant], after: datetime) -> list[Instant]:
    """Less those that a part of the span can't reach but the whole of it does, where they are met as well."""
    return [each for each in instants if each.fate is not Fate.UNREACHED or each.effective <= after]


def _judge(
    recent: Sequence[Instant], rules: Rules, until: datetime
) -> Iterator[tuple[Instant, Verdict | None]]:
    """Each with its verdict; None for one that would have run and does not."""
    runs = [instant for instant in recent if instant.fate is Fate.RUNS]
    made_up = set(runs[-_most_made_up(rules) :])
    for instant in recent:
        if instant.fate is not Fate.RUNS:
            yield instant, _without_run(instant)
            continue
        lag = until - instant.effective
        if lag > _patience(rules) or not (lag <= GRACE or instant in made_up):
            yield instant, None
        elif lag <= GRACE:
            yield instant, _on_time(instant)
        else:
            yield instant, _belated(instant, lag, latest=instant is runs[-1])


def _most_made_up(rules: Rules) -> int:
    return MOST_CAUGHT_UP if rules.catch_up_policy == CatchUp.ALL else 1


def _on_time(instant: Instant) -> Verdict:
    outcome = Outcome.FIRED if instant.effective == instant.nominal else Outcome.SHIFTED
    return Verdict(
        instant.nominal, instant.effective, outcome, instant.reason or None, instant.message or None
    )


def _belated(instant: Instant, lag: timedelta, *, latest: bool) -> Verdict:
    message = f"It ran {spoken(lag)} after it was due."
    outcome = Outcome.LATE if latest else Outcome.CAUGHT_UP
    return Verdict(instant.nominal, instant.effective, outcome, Reason.OUTAGE, message)


def _without_run(instant: Instant) -> Verdict | None:
    """The verdict on an instant that runs at no time of its own; None on one that does."""
    match instant.fate:
        case Fate.RUNS:
            return None
        case Fate.SKIPPED:
            outcome = Outcome.SKIPPED
        case Fate.MERGED:
            outcome = Outcome.MERGED
        case Fate.UNREACHED:
            outcome = Outcome.MISSED
    return Verdict(
        instant.nominal,
        instant.effective,
        outcome,
        instant.reason or None,
        instant.message or None,
        merged_into=instant.merged_into,
    )


def _ends_of_many(timing: Timing, after: datetime, until: datetime) -> list[Instant]:
    """The first and the last that would have run in (after, until]."""
    first = next(runs_after(timing, after), None)
    if first is None or first.effective > until:
        return []
    _, found = _latest(timing, after, until, 1)
    return [first, *(each for each in found if each.fate is Fate.RUNS)]


def _missed(
    zone: ZoneInfo, rules: Rules, lost: Sequence[Instant], count: int, until: datetime
) -> Verdict | None:
    """One verdict on them all, of whom `lost` holds the first and the last. None when there are none."""
    if not lost:
        return None
    first, last = min(each.nominal for each in lost), max(each.nominal for each in lost)
    reason, rule = _why_missed(rules, until - lost[-1].effective)
    if count == 1:
        said = f"It was {spoken(until - lost[0].effective)} late, and {rule}."
    else:
        said = f"{count} runs, from {_told(first, zone)} to {_told(last, zone)}, were too late: {rule}."
    return Verdict(first, lost[0].effective, Outcome.MISSED, reason, said, count, last if count > 1 else None)


def _why_missed(rules: Rules, lag: timedelta) -> tuple[Reason, str]:
    """The reason for which the last of them does not run, and the rule behind it."""
    deadline, late = rules.starting_deadline_seconds, lag.total_seconds()
    caught_up = rules.catch_up_policy != CatchUp.NONE and late <= rules.catch_up_window_seconds
    if deadline is not None and late > deadline and (caught_up or lag <= GRACE):
        return Reason.DEADLINE_EXCEEDED, f"startingDeadlineSeconds is {deadline}"
    if rules.catch_up_policy == CatchUp.NONE:
        return Reason.OUTAGE, "catchUp.policy is None"
    if not caught_up:
        return Reason.OUTAGE, f"catchUp.windowSeconds is {rules.catch_up_window_seconds}"
    return Reason.OUTAGE, f"catchUp.policy is {rules.catch_up_policy}"


def _told(instant: datetime, zone: ZoneInfo) -> str:
    return instant.astimezone(zone).isoformat(timespec="minutes")


def spoken(duration: timedelta) -> str:
    """A duration in its two largest units: 2 h 5 min."""
    seconds = max(int(duration.total_seconds()), 0)
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds % 60, "s")]
    largest = next((place for place, (amount, _) in enumerate(parts) if amount), len(parts) - 1)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[largest : largest + 2] if amount) or "0 s"
