"""Lists come back from PostgreSQL as they were sent."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.types.json import Jsonb

from maestro.db.arrays import ADAPTERS
from maestro.job.model import Level


@pytest.fixture(scope="module")
def connection(database_server: Any) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_server.uri(), autocommit=True, context=ADAPTERS) as opened:
        opened.execute("SET timezone = 'UTC'")
        yield opened


def back(connection: psycopg.Connection[Any], kind: str, sent: list[Any]) -> list[Any]:
    query = sql.SQL(
        "SELECT array_agg(item ORDER BY place) FROM unnest(%s::{}[]) WITH ORDINALITY _ (item, place)"
    )
    row = connection.execute(query.format(sql.SQL(kind)), [sent]).fetchone()
    assert row
    return row[0] or []


AWKWARD = ["NULL", "null", "", " ", "{}", ",", '"', "\\", "\\N", "\n"]
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))


@settings(max_examples=300)
@given(texts=st.lists(st.none() | TEXT | st.sampled_from(AWKWARD)))
def test_text(connection: psycopg.Connection[Any], texts: list[str | None]) -> None:
    assert back(connection, "text", texts) == texts


@pytest.mark.parametrize(
    ("kind", "items"),
    [
        ("uuid", [UUID(int=7), None, UUID(int=2**128 - 1)]),
        ("bigint", [0, -1, None, 2**63 - 1, -(2**63)]),
        ("integer", [1, 2**31 - 1]),
        ("boolean", [True, None, False]),
        ("double precision", [0.1, 1e300, None, -5e-324, float("inf")]),
        ("timestamptz", [datetime(2026, 11, 23, 8, 0, 0, 123456, UTC), None]),
        ("timestamptz", [datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))]),
        ("text", [None, None]),
        ("text", []),
        ("bytea", [b"\x00\xff", None]),
        ("jsonb", [Jsonb({"a": [1, None]}), Jsonb([])]),
    ],
)
def test_each_kind(connection: psycopg.Connection[Any], kind: str, items: list[Any]) -> None:
    found = back(connection, kind, items)
    assert found == [item.obj if isinstance(item, Jsonb) else item for item in items]


def test_enumerations_are_text(connection: psycopg.Connection[Any]) -> None:
    assert back(connection, "text", [Level.WARN, "x"]) == ["WARN", "x"]


@pytest.mark.parametrize("text", ["a\x00b", "half \ud800"])
def test_what_text_cannot_hold_is_refused_before_it_is_sent(
    connection: psycopg.Connection[Any], text: str
) -> None:
    with pytest.raises((psycopg.DataError, UnicodeEncodeError)):
        back(connection, "text", ["fine", text])
