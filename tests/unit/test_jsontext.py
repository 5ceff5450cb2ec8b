import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maestro import jsontext
from maestro.errors import BadInput

ANY_TEXT = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=20,
)


@given(VALUES)
def test_everything_a_bot_may_send_becomes_storable(value: Any) -> None:
    parsed = jsontext.parse(json.dumps(value).encode())
    text = jsontext.dump(parsed)
    assert "\\u0000" not in text
    text.encode()  # no lone surrogate left
    assert jsontext.parse(text.encode()) == parsed


@given(st.integers())
def test_integers_stay_whole(number: int) -> None:
    assert jsontext.parse(str(number).encode()) == number
    assert jsontext.dump(jsontext.parse(f'{{"a": [{number}]}}'.encode())) == f'{{"a":[{number}]}}'


def test_what_cannot_be_kept_stays_visible() -> None:
    assert jsontext.parse(b'{"a\\u0000":["\\ud800x", "\\ud83d\\ude00"]}') == {"a␀": ["�x", "😀"]}
    assert jsontext.storable("a\x00b\udfff") == "a␀b�"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b"NaN", "NaN is not a JSON value"),
        (b"[1e999]", "out of range"),
        (b"[-1e999]", "out of range"),
        (b"[" + b"9" * 4301 + b"]", "a number has 4301 digits; 4300 are the most"),
        (b"1" * 5000, "not valid JSON"),
        (b'"\xff"', "not UTF-8"),
        (b"[" * 100_000, "too deeply"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "too deeply"),
    ],
)
def test_what_cannot_be_read_is_said(body: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        jsontext.parse(body)
