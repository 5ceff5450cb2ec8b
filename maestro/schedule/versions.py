"""The versions of what says when schedules run: with others, all their times are to be computed anew."""

import zoneinfo
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from maestro.db import Connection, Statements

_sql = Statements(__package__)

_MARK = "# version "


@dataclass(frozen=True)
class Versions:
    """Of the holidays and of the time zones."""

    holidays: str
    tzdata: str


def versions_here() -> Versions:
    """Those that this process goes by. It reads files."""
    return Versions(version("holidays"), _of_system_zones() or version("tzdata"))


def _of_system_zones() -> str | None:
    """Python takes the system's time zones where there are any, before those of the package."""
    for place in zoneinfo.TZPATH:
        if (Path(place) / "UTC").exists():
            return _told_by(Path(place) / "tzdata.zi")
    return None


def _told_by(path: Path) -> str:
    try:
        with path.open() as file:
            return file.readline().removeprefix(_MARK).strip()
    except OSError:
        return "unknown"


async def take_up(conn: Connection, versions: Versions) -> int:
    """Let all times be written anew if they were computed with other versions; says of how many schedules.

    Any number of processes may do so at once: one of them finds the others' versions.
    """
    return (await conn.execute(_sql["take_up_versions"], vars(versions))).rowcount
