"""JSON that goes in and out unharmed: whole integers, storable text, a sentence for what can't be read.

orjson does the work whenever it can do it faithfully. It rounds integers past 64 bits (an invoice's access
key has 44 digits), refuses lone surrogates (Python bots send them for undecodable file names) and stops at
depth 254; those few go the slow way.
"""

import json
import re
from typing import Any, NoReturn

import orjson

from maestro.errors import BadInput

# 19 digits may not fit 64 bits; digits inside strings match too, which costs such a body time, not truth.
_LONG_NUMBER = re.compile(rb"\d{19}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(body: bytes) -> Any:
    """The value in `body`, every string in it storable. Raises BadInput with where and what is wrong."""
    if _LONG_NUMBER.search(body) is None:
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            return _parse_slowly(body)
        return _storable_value(value) if b"\\u0000" in body else value
    return _parse_slowly(body)


def dump(value: Any) -> str:
    """`value` as JSON text. Raises BadInput when it is nested too deeply."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        pass
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise BadInput(_TOO_DEEP) from None


def canonical(value: Any) -> bytes:
    """`value` as JSON whose bytes are the same whatever order its objects' names came in.

    Raises BadInput when it is nested too deeply.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        pass
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    except RecursionError:
        raise BadInput(_TOO_DEEP) from None


def storable(text: str) -> str:
    """`text` as PostgreSQL can keep it: NUL becomes ␀, a lone surrogate the replacement character."""
    return _SURROGATE.sub("\ufffd", text.replace("\x00", "\u2400"))


_TOO_DEEP = "The JSON is nested too deeply; send flatter values."


def _parse_slowly(body: bytes) -> Any:
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant, parse_float=_finite, parse_int=_whole)
        return _storable_value(value)
    except UnicodeDecodeError as error:
        raise BadInput(f"The body is not UTF-8 (byte {error.start}); send JSON encoded as UTF-8.") from None
    except RecursionError:
        raise BadInput(_TOO_DEEP) from None
    except ValueError as error:
        raise BadInput(f"The body is not valid JSON: {error}.") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:20]} is out of range")
    return number


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python's own bound, since reading ever more of them takes ever longer
        raise ValueError(f"a number has {len(digits)} digits; 4300 are the most") from None


def _storable_value(value: Any) -> Any:
    match value:
        case str():
            return storable(value)
        case list():
            return [_storable_value(item) for item in value]
        case dict():
            return {storable(key): _storable_value(item) for key, item in value.items()}
        case _:
            return value
