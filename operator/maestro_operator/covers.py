"""Whether a live object has every field we would set, so that nothing is written when nothing differs."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

# Lists that the API server merges by a key: others may add entries of their own to them.
_MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
_QUANTITIES = {"limits", "requests", "sizeLimit"}


def covers(live: Any, desired: Any, field: str = "") -> bool:
    """Every field of `desired` is in `live` with an equal value; what else `live` has is not ours to judge.

    An empty desired value equals an absent one, since the API server drops such.
    """
    if live is None:
        return desired is None or desired in ("", 0, False) or desired in ({}, [])
    match desired:
        case Mapping():
            return isinstance(live, Mapping) and all(
                covers(live.get(name), value, field if field in _QUANTITIES else name)
                for name, value in desired.items()
            )
        case list():
            return isinstance(live, Sequence) and _covers_list(live, desired, field)
        case _:
            return bool(live == desired) or (field in _QUANTITIES and _same_quantity(live, desired))


def _covers_list(live: Sequence[Any], desired: list[Any], field: str) -> bool:
    merge_key = _MERGE_KEYS.get(field)
    if merge_key is None:
        return len(live) == len(desired) and all(map(covers, live, desired))
    by_key = {each.get(merge_key): each for each in live}
    return all(covers(by_key.get(each[merge_key]), each) for each in desired)


def _same_quantity(live: Any, desired: Any) -> bool:
    try:
        return _number(live) == _number(desired)
    except ValueError:
        return False


def _number(quantity: Any) -> Decimal:
    return Decimal(parse_quantity(quantity))  # type: ignore[no-untyped-call]
