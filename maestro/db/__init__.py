"""PostgreSQL: the pool, named statements, migrations."""

from maestro.db.pool import Connection, Pool, autocommit, connect, note_pools, open_pool, translate_errors
from maestro.db.statements import Statements

__all__ = [
    "Connection",
    "Pool",
    "Statements",
    "autocommit",
    "connect",
    "note_pools",
    "open_pool",
    "translate_errors",
]
