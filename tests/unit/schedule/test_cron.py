"""The dialect, and the next instant, against tables and against a walk over every minute."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maestro.errors import BadInput
from maestro.schedule.cron import Cron, instants_after, parse, zone_of
from unit.schedule.minutes import (
    ANYWHEN,
    EXPRESSIONS,
    FREQUENT,
    MINUTE,
    NEAR_CHANGES,
    ZONES,
    parsed,
    walked,
)


def next_after(cron: Cron, zone: ZoneInfo, instant: datetime) -> datetime:
    return next(instants_after(cron, zone, instant))


@pytest.mark.parametrize(
    ("expression", "plain"),
    [
        ("* * * * *", "* * * * *"),
        ("*/20 8-18/5 1,15 jan-mar mon-fri", "0,20,40 8,13,18 1,15 1,2,3 1,2,3,4,5"),
        ("5 4 * * 7", "5 4 * * 0"),
        ("5 4 * * 5-7", "5 4 * * 0,5,6"),
        ("5 4 * * fri-sun", "5 4 * * 0,5,6"),
        ("5 4 * * sun-sat", "5 4 * * *"),
        ("05 04 * DEC Sun", "5 4 * 12 0"),
        ("0-59 0-23 1-31 1-12 0-6", "* * * * *"),
        ("  0  9\t1 * *  ", "0 9 1 * *"),
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@Yearly", "0 0 1 1 *"),
        ("0 0 30 2 mon", "0 0 30 2 1"),  # never on a 30th, yet on Mondays
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 L * *", "0 0 L * *"),
        ("0 0 15,l,8 * *", "0 0 8,15,L * *"),
        ("0 0 L,L,31 * *", "0 0 31,L * *"),
        ("0 0 L,30 2 *", "0 0 30,L 2 *"),
        ("0 0 L,*/2 * mon", "0 0 1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,L * 1"),
        ("0 0 L,* * *", "0 0 * * *"),
    ],
)
def test_reads(expression: str, plain: str) -> None:
    assert parse(expression).plain == plain


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "has 0 fields; exactly five are needed"),
        ("* * * *", "has 4 fields"),
        ("0 * * * * *", "has 6 fields"),
        ("60 * * * *", "takes 0 to 59"),
        ("* 24 * * *", "takes 0 to 23"),
        ("* * 0 * *", "takes 1 to 31"),
        ("* * 32 * *", "takes 1 to 31"),
        ("* * * 13 *", "takes 1 to 12"),
        ("* * * * 8", "takes 0 to 7"),
        ("* * L-3 * *", "'L-3' in the day of month field can't be read; it takes numbers, L (the last day"),
        ("* * LW * *", "can't be read"),
        ("* * L/2 * *", "can't be read"),
        ("* * 8,,L * *", "'' in the day of month field can't be read"),
        ("* * L, * *", "'' in the day of month field can't be read"),
        ("* * 1-L * *", "can't be read"),
        ("* L * * *", "'L' in the hour field can't be read; it takes numbers, ranges"),
        ("* * * L *", "can't be read"),
        ("* * * * L", "can't be read"),
        ("* * 15W * *", "can't be read"),
        ("* * * * 5#2", "can't be read"),
        ("* * * * 5L", "can't be read"),
        ("* * ? * *", "can't be read"),
        ("H * * * *", "can't be read"),
        ("* * * january *", "names (jan to dec)"),
        ("mon * * * *", "can't be read"),
        ("*/0 * * * *", "takes 1 to 59"),
        ("*/60 * * * *", "takes 1 to 59"),
        ("5/10 * * * *", "5-59/10 or */10"),
        ("10-5 * * * *", "runs backwards"),
        ("* * * * sat-mon", "runs backwards"),
        ("1,,2 * * * *", "can't be read"),
        ("1- * * * *", "can't be read"),
        ("-1 * * * *", "can't be read"),
        ("+1 * * * *", "can't be read"),
        ("1.5 * * * *", "can't be read"),
        ("\u0661 * * * *", "can't be read"),  # a digit, in Arabic
        ("* * * * * ; rm", "fields"),
        ("@reboot", "@hourly, @daily, @weekly, @monthly, @yearly"),
        ("@midnight", "@hourly"),
        ("@daily 5", "is not one of"),
        ("0 0 30 2 *", "never occurs"),
        ("0 0 31 2,4,6,9,11 *", "never occurs"),
        ("0 " * 200, "200 fields|characters"),
    ],
)
def test_refuses_with_what_to_do(expression: str, says: str) -> None:
    with pytest.raises(BadInput) as refusal:
        parse(expression)
    assert any(part in refusal.value.message for part in says.split("|"))


def test_an_unknown_zone_is_refused_with_an_example() -> None:
    for name in (
        "",
        "Brasilia",
        "america/sao_paulo",
        "UTC+3",
        "../UTC",
        "/etc/localtime",
        "right/UTC",
        "America",
    ):
        with pytest.raises(BadInput, match="such as America/Sao_Paulo"):
            zone_of(name)
    assert zone_of("America/Sao_Paulo") == ZoneInfo("America/Sao_Paulo")


def runs(expression: str, zone: str, start: str, count: int) -> list[str]:
    """The first instants after a local time, as local times with their offset."""
    cron, clock = parse(expression), zone_of(zone)
    instant, found = datetime.fromisoformat(start).replace(tzinfo=clock), []
    for _ in range(count):
        instant = next_after(cron, clock, instant)
        assert instant.tzinfo is UTC
        found.append(instant.astimezone(clock).strftime("%m-%d %H:%M%z"))
    return found


@pytest.mark.parametrize(
    ("expression", "zone", "start", "expected"),
    [
        # a gap: Berlin, 29 March 2026, 02:00 to 03:00
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T03:00", ["03-29 03:00+0200", "03-30 02:30+0200"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T03:00", ["03-29 03:00+0200", "03-30 02:00+0200"]),
        ("0 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00", ["03-29 03:00+0200", "03-30 02:00+0200"]),
        ("0 * * * *", "Europe/Berlin", "2026-03-29T00:30", ["03-29 01:00+0100", "03-29 03:00+0200"]),
        # a fold: Berlin, 25 October 2026, 03:00 back to 02:00
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:00", ["10-25 02:30+0200", "10-26 02:30+0100"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-10-25T02:00", ["10-25 02:30+0200", "10-26 02:00+0100"]),
        ("0 */2 * * *", "Europe/Berlin", "2026-10-25T01:00", ["10-25 02:00+0200", "10-25 04:00+0100"]),
        (
            "30 * * * *",
            "Europe/Berlin",
            "2026-10-25T01:00",
            ["10-25 01:30+0200", "10-25 02:30+0200", "10-25 02:30+0100", "10-25 03:30+0100"],
        ),
        # midnight does not exist: São Paulo, 4 November 2018
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T01:00", ["11-04 01:00-0200", "11-05 00:00-0200"]),
        # midnight comes twice: São Paulo, 18 February 2018
        ("30 23 * * *", "America/Sao_Paulo", "2018-02-17T12:00", ["02-17 23:30-0200", "02-18 23:30-0300"]),
        ("0 2 * * *", "America/New_York", "2026-03-07T12:00", ["03-08 03:00-0400", "03-09 02:00-0400"]),
        # half an hour: Lord Howe, 4 October and 5 April 2026
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["10-04 02:30+1100", "10-05 02:15+1100"]),
        (
            "45 * * * *",
            "Australia/Lord_Howe",
            "2026-04-05T01:00",
            ["04-05 01:45+1100", "04-05 01:45+1030", "04-05 02:45+1030"],
        ),
        # Ramadan: Casablanca, 15 February and 22 March 2026
        ("30 2 * * *", "Africa/Casablanca", "2026-02-15T00:00", ["02-15 02:30+0100", "02-16 02:30+0000"]),
        ("30 2 * * *", "Africa/Casablanca", "2026-03-22T00:00", ["03-22 03:00+0100", "03-23 02:30+0100"]),
        # a day that does not exist: Apia skipped 30 December 2011
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T13:00", ["12-31 00:00+1400", "12-31 12:00+1400"]),
        # either day matches when both are given
        ("0 0 13 * fri", "UTC", "2026-11-01T00:00", ["11-06 00:00+0000", "11-13 00:00+0000"]),
        ("0 0 */10 * mon", "UTC", "2026-11-01T01:00", ["11-02 00:00+0000", "11-09 00:00+0000"]),
        ("0 0 29 2 *", "UTC", "2026-03-01T00:00", ["02-29 00:00+0000", "02-29 00:00+0000"]),
        ("0 0 31 * *", "UTC", "2026-11-01T00:00", ["12-31 00:00+0000", "01-31 00:00+0000"]),
        # the last day of the month
        (
            "0 9 L * *",
            "America/Sao_Paulo",
            "2028-01-31T09:00",
            ["02-29 09:00-0300", "03-31 09:00-0300", "04-30 09:00-0300", "05-31 09:00-0300"],
        ),
        (
            "0 9 8,15,L * *",
            "UTC",
            "2026-02-08T09:00",
            ["02-15 09:00+0000", "02-28 09:00+0000", "03-08 09:00+0000", "03-15 09:00+0000"],
        ),
        ("0 0 L,30 2 *", "UTC", "2027-01-01T00:00", ["02-28 00:00+0000", "02-29 00:00+0000"]),
        (
            "0 0 L * fri",
            "UTC",
            "2026-11-21T00:00",
            ["11-27 00:00+0000", "11-30 00:00+0000", "12-04 00:00+0000"],
        ),
        ("30 2 L 10 *", "Europe/Berlin", "2021-10-30T12:00", ["10-31 02:30+0200", "10-31 02:30+0100"]),
    ],
)
def test_runs(expression: str, zone: str, start: str, expected: list[str]) -> None:
    assert runs(expression, zone, start, len(expected)) == expected


def test_the_century_without_a_leap_day() -> None:
    last = next_after(parse("0 0 L 2 *"), ZoneInfo("UTC"), datetime(2100, 1, 1, tzinfo=UTC))
    assert last == datetime(2100, 2, 28, tzinfo=UTC)
    assert next_after(parse("0 0 29 2 *"), ZoneInfo("UTC"), datetime(2097, 1, 1, tzinfo=UTC)).year == 2104


def test_seconds_and_fractions_count_as_after() -> None:
    every_minute, instant = parse("* * * * *"), datetime(2026, 1, 1, 8, 30, tzinfo=UTC)
    assert next_after(every_minute, ZoneInfo("UTC"), instant) == instant + MINUTE
    assert next_after(every_minute, ZoneInfo("UTC"), instant - timedelta(microseconds=1)) == instant
    assert next_after(every_minute, ZoneInfo("UTC"), instant + timedelta(seconds=59.9)) == instant + MINUTE


@settings(max_examples=150, deadline=None)
@given(st.one_of(FREQUENT, EXPRESSIONS), st.sampled_from(ZONES), st.one_of(NEAR_CHANGES, ANYWHEN))
def test_agrees_with_a_walk_over_the_minutes(expression: str, zone_name: str, start: datetime) -> None:
    cron, zone = parsed(expression), ZoneInfo(zone_name)
    if cron is None:
        return
    until = start + timedelta(hours=30)
    expected = walked(cron, zone, start, until)[:60]
    instant, found = start, []
    while len(found) < len(expected) + 1 and (instant := next_after(cron, zone, instant)) <= until:
        found.append(instant)
    assert found[: len(expected)] == expected
    assert len(expected) == 60 or len(found) == len(expected)


@settings(max_examples=200, deadline=None)
@given(EXPRESSIONS, st.sampled_from(ZONES), ANYWHEN)
def test_a_sparse_one_runs_on_a_day_that_matches_and_skips_none(
    expression: str, zone_name: str, start: datetime
) -> None:
    cron, zone = parsed(expression), ZoneInfo(zone_name)
    if cron is None:
        return
    following = next_after(cron, zone, start)
    assert following > start
    near = max(start, following - timedelta(hours=3))
    assert walked(cron, zone, near, following) == [following]


def test_instants_ascend_and_come_alike_from_anywhere() -> None:
    cron, zone = parse("*/7 * * * *"), ZoneInfo("Europe/Berlin")
    start = datetime(2026, 10, 24, 20, tzinfo=UTC)
    found = list(islice(instants_after(cron, zone, start), 200))
    assert found == sorted(set(found))
    assert found == [next_after(cron, zone, before) for before in [start, *found[:-1]]]
