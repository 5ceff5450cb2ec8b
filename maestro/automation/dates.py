"""What a date parameter may be, as one regular expression: dd/mm/yyyy, or yyyy-mm-dd with or without a time.

It knows the calendar, so that a form that has it from the JSON Schema refuses what execute would.
"""

import re

# Python and JavaScript read it alike: [0-9] rather than \d, whose digits are also those of other scripts.
_LEAP = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_YEAR = r"(?!0000)[0-9]{4}"
_MONTH_DAYS = (
    (r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|1[0-9]|2[0-8])"),
    (r"(?:0[13-9]|1[0-2])", r"(?:29|30)"),
    (r"(?:0[13578]|1[02])", r"31"),
)
_DAY_FIRST = "|".join(
    [*(f"{days}/{months}/{_YEAR}" for months, days in _MONTH_DAYS), f"29/02/(?!0000){_LEAP}"]
)
_YEAR_FIRST = "|".join(
    [*(f"{_YEAR}-{months}-{days}" for months, days in _MONTH_DAYS), f"(?!0000){_LEAP}-02-29"]
)
_HOUR, _SIXTY = r"(?:[01][0-9]|2[0-3])", r"[0-5][0-9]"
_TIME = rf"[Tt ]{_HOUR}:{_SIXTY}(?::{_SIXTY}(?:[.,][0-9]+)?)?(?:[Zz]|[+-]{_HOUR}:?{_SIXTY})?"

DATE = f"(?:{_DAY_FIRST}|(?:{_YEAR_FIRST})(?:{_TIME})?)"

_DATE = re.compile(DATE)


def is_date(text: str) -> bool:
    """Whether a date parameter may be this."""
    return _DATE.fullmatch(text) is not None
