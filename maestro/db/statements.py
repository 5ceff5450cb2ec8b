"""Named SQL statements from the `queries.sql`, or another file, beside a concept's code.

    -- name: by_id
    -- What it is for, in a line.
    SELECT …

`Statements("maestro.job")["by_id"]` is the text below that name.
"""

import re
from importlib.resources import files
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


class Statements:
    """The statements of one file of a package, by name."""

    def __init__(self, package: str, file: str = "queries.sql") -> None:
        text = files(package).joinpath(file).read_text(encoding="utf-8")
        _, *parts = _NAME.split(text)
        # The files ship with the code, so their text is as trusted as a literal in it.
        self._by_name = {
            name: cast("LiteralString", body.strip())
            for name, body in zip(parts[::2], parts[1::2], strict=True)
        }

    def __getitem__(self, name: str) -> LiteralString:
        return self._by_name[name]
