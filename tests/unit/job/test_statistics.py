from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil, log
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.job.statistics import (
    GROWTH,
    Counts,
    Durations,
    Range,
    Tally,
    days,
    finest_slots,
    hours,
    percentiles,
    series,
    slots_of,
)

UTC_ZONE = ZoneInfo("UTC")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
BERLIN = ZoneInfo("Europe/Berlin")
KOLKATA = ZoneInfo("Asia/Kolkata")
NOW = datetime(2026, 11, 25, 10, 20, 30, tzinfo=UTC)


def test_hours_begin_where_the_zones_clocks_have_them() -> None:
    assert hours(NOW, UTC_ZONE)[-1] == datetime(2026, 11, 25, 10, tzinfo=UTC)
    assert hours(NOW, UTC_ZONE)[0] == datetime(2026, 11, 24, 11, tzinfo=UTC)
    assert hours(NOW, KOLKATA)[-1] == datetime(2026, 11, 25, 9, 30, tzinfo=UTC)


def test_days_begin_at_the_zones_midnight() -> None:
    assert days(NOW, SAO_PAULO, 2) == [
        datetime(2026, 11, 24, 3, tzinfo=UTC),
        datetime(2026, 11, 25, 3, tzinfo=UTC),
    ]
    before_midnight_there = datetime(2026, 11, 25, 2, 59, tzinfo=UTC)
    assert days(before_midnight_there, SAO_PAULO, 1) == [datetime(2026, 11, 24, 3, tzinfo=UTC)]


def test_an_hour_that_comes_twice_is_two_and_its_day_has_25() -> None:
    now = datetime(2026, 10, 25, 12, 10, tzinfo=UTC)
    found = hours(now, BERLIN)
    assert len({*found}) == 24
    assert {b - a for a, b in pairwise(found)} == {timedelta(hours=1)}
    [day, following] = days(now + timedelta(days=1), BERLIN, 2)
    assert following - day == timedelta(hours=25)


def test_a_midnight_that_the_clocks_leave_out_is_the_instant_they_do() -> None:
    # On 2018-11-04 the clocks of São Paulo went from 00:00 to 01:00.
    now = datetime(2018, 11, 4, 12, tzinfo=UTC)
    assert days(now, SAO_PAULO, 1) == [datetime(2018, 11, 4, 3, tzinfo=UTC)]


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.sampled_from([UTC_ZONE, SAO_PAULO, BERLIN, KOLKATA, ZoneInfo("Australia/Lord_Howe")]),
    st.sampled_from(Range),
)
def test_slots_reach_from_inside_the_range_to_now(now: datetime, zone: ZoneInfo, range_: Range) -> None:
    slots = slots_of(range_, now, zone)
    assert len(slots) == {Range.DAY: 24, Range.WEEK: 7, Range.MONTH: 30}[range_]
    assert slots == sorted(set(slots))
    assert slots[-1] <= now
    # The clocks may have gone back since.
    assert slots[0] > now - range_.span - timedelta(hours=1)
    assert set(slots) <= set(finest_slots(now, zone))


def test_finer_slots_add_up_to_coarser_ones_and_earlier_ones_count_nowhere() -> None:
    day = datetime(2026, 11, 25, tzinfo=UTC)
    fine = {day + timedelta(hours=back): Counts(total=1, failed=1) for back in (-30, -2, 0, 1, 23)}
    assert [each.total for each in series(fine, [day - timedelta(days=1), day])] == [1, 3]
    assert [each.failed for each in series({}, [day, day + timedelta(days=1)])] == [0, 0]


def test_rates_are_of_those_that_succeeded_or_failed() -> None:
    counts = Counts(total=10, succeeded=3, failed=1, canceled=6, scheduled=4)
    assert (counts.success_rate, counts.manual) == (0.75, 6)
    assert Counts(total=2, canceled=2).success_rate is None


def test_tallies_add_up() -> None:
    hour = datetime(2026, 11, 25, tzinfo=UTC)
    one = Tally({1: Counts(total=1)}, {1: Durations({5: 1})}, Counter({"A": 1}), {hour: Counts(total=1)})
    two = Tally({1: Counts(total=2), 2: Counts(total=3)}, {2: Durations({7: 3})})
    whole = Tally.sum([one, two, one])
    assert whole.automations == {1: Counts(total=4), 2: Counts(total=3)}
    assert whole.durations == {1: {5: 2}, 2: {7: 3}}
    assert whole.errors == {"A": 2}
    assert whole.slots == {hour: Counts(total=2)}


@given(
    st.lists(st.floats(0.001, 1e7), min_size=1, max_size=200),
    st.lists(st.floats(0.001, 1e7), max_size=20),
)
def test_percentiles_are_known_to_within_one_percent(one: list[float], other: list[float]) -> None:
    parts = [Durations(ceil(log(each) / log(GROWTH)) for each in seconds) for seconds in (one, other)]
    shares = [0.5, 0.95, 1.0]
    whole = sorted(one + other)
    exact = [whole[ceil(share * len(whole)) - 1] for share in shares]
    assert percentiles(parts, shares) == pytest.approx(exact, rel=0.0101, abs=0.0006)


def test_no_durations_have_no_percentiles() -> None:
    assert percentiles([], [0.5, 0.95]) == [None, None]
    assert percentiles([Durations()], [0.5]) == [None]
