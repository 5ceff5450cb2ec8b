"""The oracle: a walk over the minutes, which asks each local time the plain question. And what to ask it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from maestro.errors import BadInput
from maestro.schedule.cron import Cron, parse

MINUTE = timedelta(minutes=1)


def lets_in(cron: Cron, local: datetime) -> bool:
    if local.minute not in cron.minutes or local.hour not in cron.hours or local.month not in cron.months:
        return False
    any_day, any_weekday = len(cron.days) == 31, len(cron.weekdays) == 7
    last = cron.last_day and (local + timedelta(days=1)).day == 1
    day, weekday = local.day in cron.days or last, (local.weekday() + 1) % 7 in cron.weekdays
    return day and weekday if any_day or any_weekday else day or weekday


def walked(cron: Cron, zone: ZoneInfo, after: datetime, until: datetime) -> list[datetime]:
    """Every instant at which the cron runs, from a walk over the minutes of UTC."""
    found = []
    instant = after.replace(second=0, microsecond=0)
    local = instant.astimezone(zone)
    while (instant := instant + MINUTE) <= until:
        earlier, local = local, instant.astimezone(zone)
        jumped = local.replace(tzinfo=None) - earlier.replace(tzinfo=None)
        skipped = [earlier.replace(tzinfo=None) + MINUTE * n for n in range(1, jumped // MINUTE)]
        repeated = local.fold == 1 and not cron.every_hour
        if any(lets_in(cron, time) for time in skipped) or (lets_in(cron, local) and not repeated):
            found.append(instant)
    return found


ZONES = [
    "UTC",
    "America/Sao_Paulo",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/Havana",
]


def field(low: int, high: int, *words: str) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(sorted).map(lambda ends: f"{ends[0]}-{ends[1]}")
    step = st.integers(1, high)
    part = st.one_of(
        st.just("*"),
        number.map(str),
        span,
        step.map(lambda by: f"*/{by}"),
        st.tuples(span, step).map(lambda both: f"{both[0]}/{both[1]}"),
        *map(st.just, words),
    )
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


EXPRESSIONS = st.tuples(field(0, 59), field(0, 23), field(1, 31, "L", "L"), field(1, 12), field(0, 7)).map(
    " ".join
)
FREQUENT = st.tuples(field(0, 59), field(0, 23)).map(lambda both: f"{both[0]} {both[1]} * * *")
# Around the clock changes of these zones, where it can go wrong, and anywhere else.
CHANGES = st.sampled_from(
    [
        datetime(2026, 3, 29, 1, tzinfo=UTC),
        datetime(2026, 10, 25, 1, tzinfo=UTC),
        datetime(2018, 11, 4, 3, tzinfo=UTC),
        datetime(2018, 2, 18, 2, tzinfo=UTC),
        datetime(2026, 3, 8, 7, tzinfo=UTC),
        datetime(2026, 11, 1, 6, tzinfo=UTC),
        datetime(2026, 4, 4, 15, tzinfo=UTC),
        datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
        datetime(2026, 2, 15, 2, tzinfo=UTC),
        datetime(2026, 3, 22, 2, tzinfo=UTC),
        datetime(2011, 12, 30, 10, tzinfo=UTC),
    ]
)
NEAR_CHANGES = st.tuples(CHANGES, st.integers(-1600, 300)).map(lambda pair: pair[0] + pair[1] * MINUTE)
ANYWHEN = st.datetimes(datetime(1995, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


def parsed(expression: str) -> Cron | None:
    try:
        return parse(expression)
    except BadInput as refusal:
        if "never occurs" in refusal.message:
            return None
        raise
