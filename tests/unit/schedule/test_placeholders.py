"""Date placeholders, expanded from the nominal time in the schedule's zone."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from maestro.errors import BadInput
from maestro.schedule.placeholders import expand

SAO_PAULO = ZoneInfo("America/Sao_Paulo")


def expanded(value: Any, today: str = "2026-03-15T08:00", previous: str | None = "2026-03-13T08:00") -> Any:
    return expand(
        value,
        nominal=datetime.fromisoformat(today).replace(tzinfo=SAO_PAULO),
        previous=datetime.fromisoformat(previous).replace(tzinfo=SAO_PAULO) if previous else None,
        zone=SAO_PAULO,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{today}}", "15/03/2026"),
        ("{{yesterday}}", "14/03/2026"),
        ("{{tomorrow}}", "16/03/2026"),
        ("{{prev_run}}", "13/03/2026"),
        ("{{today+1}}", "16/03/2026"),
        ("{{today-15}}", "28/02/2026"),
        ("{{today-0}}", "15/03/2026"),
        ("{{prev_run+2}}", "15/03/2026"),
        ("{{prev_run-13}}", "28/02/2026"),
        ("{{first_of_month}}", "01/03/2026"),
        ("{{last_of_month}}", "31/03/2026"),
        ("{{first_of_last_month}}", "01/02/2026"),
        ("{{last_of_last_month}}", "28/02/2026"),
        ("{{ today }}", "15/03/2026"),
        ("{{ prev_run - 1 }}", "12/03/2026"),
        (
            "from {{prev_run}} to {{yesterday}}, {{today}}{{today}}",
            "from 13/03/2026 to 14/03/2026, 15/03/202615/03/2026",
        ),
        ("{{{today}}}", "{15/03/2026}"),
        # no placeholders of ours
        ("{{Today}}", "{{Today}}"),
        ("{{now}}", "{{now}}"),
        ("{{yesterday+1}}", "{{yesterday+1}}"),
        ("{{first_of_month-1}}", "{{first_of_month-1}}"),
        ("{{today+}}", "{{today+}}"),
        ("{{today+1.5}}", "{{today+1.5}}"),
        ("{{today+\u0661}}", "{{today+\u0661}}"),  # a digit, in Arabic
        ("{today} {{today} {{to day}}", "{today} {{today} {{to day}}"),
        ("", ""),
    ],
)
def test_placeholders(text: str, expected: str) -> None:
    assert expanded(text) == expected


def test_at_any_depth_in_values_only() -> None:
    value = {
        "{{today}}": [{"to": "{{today}}", "count": 3, "flag": True, "none": None, "half": 0.5}],
        "deep": [["{{prev_run}}"]],
    }
    assert expanded(value) == {
        "{{today}}": [{"to": "15/03/2026", "count": 3, "flag": True, "none": None, "half": 0.5}],
        "deep": [["13/03/2026"]],
    }
    assert value["deep"] == [["{{prev_run}}"]]


@pytest.mark.parametrize(
    ("today", "text", "expected"),
    [
        ("2026-01-10T08:00", "{{first_of_last_month}} {{last_of_last_month}}", "01/12/2025 31/12/2025"),
        ("2028-03-31T08:00", "{{last_of_last_month}}", "29/02/2028"),
        ("2028-02-01T08:00", "{{last_of_month}}", "29/02/2028"),
        ("2100-03-01T08:00", "{{yesterday}}", "28/02/2100"),
        ("2026-12-31T08:00", "{{tomorrow}}", "01/01/2027"),
    ],
)
def test_over_the_ends_of_months_and_years(today: str, text: str, expected: str) -> None:
    assert expanded(text, today) == expected


def test_the_date_is_that_of_the_zone() -> None:
    late = datetime(2026, 3, 16, 1, tzinfo=UTC)  # 22:00 of the day before in São Paulo
    assert (
        expand("{{today}} {{prev_run}}", nominal=late, previous=late, zone=SAO_PAULO)
        == "15/03/2026 15/03/2026"
    )
    assert expand("{{today}}", nominal=late, previous=None, zone=ZoneInfo("UTC")) == "16/03/2026"


def test_without_a_run_before_prev_run_is_today() -> None:
    assert expanded("{{prev_run}}", previous=None) == "15/03/2026"


@pytest.mark.parametrize("days", ["800000", "9999999999999", "9" * 5000])
def test_a_date_out_of_the_calendar_is_refused(days: str) -> None:
    for text in (f"{{{{today-{days}}}}}", f"{{{{prev_run-{days}}}}}"):
        with pytest.raises(BadInput, match="years 1 to 9999"):
            expanded(text)
    assert expanded("{{today-730000}}") == "13/07/0027"


def test_what_nests_too_deeply_is_refused() -> None:
    value: Any = "{{today}}"
    for _ in range(5000):
        value = [value]
    with pytest.raises(BadInput, match="nested too deeply"):
        expanded(value)
