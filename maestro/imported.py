"""The ids that definitions had on a server whose clients go on with them, given by annotation."""

import re
from collections.abc import Mapping
from typing import Any

from maestro.errors import SpecRefused

ANNOTATION = "rps-maestro.io/id"
LARGEST = 1_000_000
"""New ids are counted on behind the imported ones, and counting up to one takes time."""


def imported_id(resource: Mapping[str, Any]) -> int | None:
    """The id that a custom resource's annotation asks for. Raises SpecRefused for what can't be one."""
    given = (resource["metadata"].get("annotations") or {}).get(ANNOTATION)
    if given is None:
        return None
    if not re.fullmatch("[1-9][0-9]{0,6}", given) or int(given) > LARGEST:
        message = f"The annotation {ANNOTATION} is {given!r:.40}; write a number from 1 to {LARGEST:,}."
        raise SpecRefused("InvalidId", message)
    return int(given)


def refuse_other(kind: str, known: int, asked: int | None) -> None:
    """Raises SpecRefused when it has an id already, and not the one that is asked for."""
    if asked not in (None, known):
        raise SpecRefused(
            "IdMismatch",
            f"This {kind} has the id {known} for good, and the annotation {ANNOTATION} asks for {asked}; "
            "take the annotation away, or give the id to one that is new.",
        )


def taken(asked: int, holder: str) -> SpecRefused:
    """What to raise when another one has the id."""
    return SpecRefused(
        "IdTaken",
        f"The id {asked} that the annotation {ANNOTATION} asks for is {holder}'s; "
        "ask for another one, or for none.",
    )
