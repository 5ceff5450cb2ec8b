"""Automations as executes need them, without a statement for each execute."""

from collections.abc import Sequence
from time import monotonic

from maestro.automation import store
from maestro.automation.model import Automation
from maestro.db import Connection
from maestro.errors import MaestroError, NotFound
from maestro_api.coalescer import Coalescer

FRESH_SECONDS = 1.0
"""How long what was read of an automation holds. The operator, another api or a retry rule may change it
meanwhile; what this process changes itself it forgets at once."""


class Known:
    """Reads automations at most once a second each; those asked for at the same time share a statement."""

    def __init__(self, coalescer: Coalescer) -> None:
        self._reads = coalescer.lane(_read)
        self._found: dict[int, tuple[Automation, float]] = {}
        self._edits = 0

    async def get(self, automation_id: int) -> Automation:
        """One in use, as it is or was within the last second, all edits through this api included.

        Raises NotFound.
        """
        if (found := self._found.get(automation_id)) and monotonic() < found[1] + FRESH_SECONDS:
            return found[0]
        edits, asked = self._edits, monotonic()
        automation = await self._reads.submit(automation_id)
        if edits == self._edits:  # otherwise this may be from before the edit
            self._found[automation_id] = (automation, asked)
        return automation

    def forget(self) -> None:
        """An automation was edited: read anew what is asked for from now on."""
        self._edits += 1
        self._found.clear()


async def _read(conn: Connection, ids: Sequence[int]) -> list[Automation | MaestroError]:
    found = {automation.id: automation for automation in await store.by_ids(conn, list(set(ids)))}
    return [found.get(each) or NotFound(f"There is no automation {each}.") for each in ids]
