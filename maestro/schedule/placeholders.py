"""Date placeholders in parameters: {{today}}, {{prev_run-1}}, {{last_of_last_month}}. Pure."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo


def expand(value: Any, *, nominal: datetime, previous: datetime | None, zone: ZoneInfo) -> Any:
    """A copy of this JSON value with the placeholders in its strings, at any depth, written as dd/MM/yyyy.

    `today` is the date of `nominal` in `zone`, `prev_run` that of `previous`. Keys and what is no known placeholder
    stay as written, `prev_run` on a first run is today's. Raises BadInput for a date out of the years 1 to 9999.
    """
    raise NotImplementedError
