from datetime import UTC, datetime
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro.errors import BadInput
from maestro.job.listing import Place
from maestro.job.model import Filter, Status
from maestro_api.cursor import Cursor

INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
PLACE = Place(datetime(2026, 11, 25, 8, 0, 0, 123456, tzinfo=UTC), UUID(int=7))


@given(INSTANTS, st.uuids(), st.integers(0, 2**40))
def test_a_cursor_says_its_place_to_the_microsecond_in_a_word_that_needs_no_quoting(
    created_at: datetime, job_id: UUID, total: int
) -> None:
    cursor = Cursor.of(Place(created_at, job_id), total, Filter())
    assert Cursor.read(str(cursor)) == cursor
    assert quote(str(cursor), safe="") == str(cursor)


def test_its_total_is_that_of_the_same_list() -> None:
    morning = datetime(2026, 11, 25, 8, tzinfo=UTC)
    wanted = Filter(status=Status.FAILED, automation_id=3, since=morning)
    cursor = Cursor.of(PLACE, 500, wanted)
    assert cursor.total_of(wanted) == 500
    assert cursor.total_of(Filter(status=Status.FAILED, automation_id=4, since=morning)) is None
    assert cursor.total_of(Filter()) is None


@given(st.text(max_size=60))
def test_whatever_else_is_refused_or_read(text: str) -> None:
    try:
        Cursor.read(text)
    except BadInput as error:
        assert "nextCursor" in error.message  # noqa: PT017  # any text may be a cursor by chance


@pytest.mark.parametrize(
    "text", ["", "x", str(Cursor.of(PLACE, 1, Filter()))[:-1], "_" * 48, "f" * 48, "=" * 48]
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Cursor.read(text)
