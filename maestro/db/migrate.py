"""Brings the database to this version's schema: plain `.sql` files, expand-only, safe twice and at once."""

import logging
import time
from importlib.resources import as_file, files
from urllib.parse import urlsplit, urlunsplit

import psycopg
from yoyo import get_backend, read_migrations

from maestro.settings import settings

log = logging.getLogger(__name__)

# Any number that nothing else in this database uses as an advisory lock.
_LOCK = 7_267_373_783


def migrate(uri: str) -> int:
    """Apply what is missing and return how many migrations that were.

    A session-level advisory lock lets one process migrate while others wait; it goes with its connection, so
    a killed migration blocks nobody. Raises psycopg.Error when the database is away or a migration fails.
    """
    with psycopg.connect(uri, autocommit=True, connect_timeout=5) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        return _apply_missing(uri)


def _apply_missing(uri: str) -> int:
    with as_file(files("maestro.db").joinpath("migrations")) as folder:
        backend = get_backend(_yoyo_uri(uri))
        try:
            missing = backend.to_apply(read_migrations(str(folder)))
            backend.apply_migrations(missing)
            return len(missing)
        finally:
            backend.connection.close()


def _yoyo_uri(uri: str) -> str:
    """yoyo picks its psycopg 3 backend by the scheme."""
    return urlunsplit(urlsplit(uri)._replace(scheme="postgresql+psycopg"))


def main() -> None:
    """Wait for PostgreSQL as long as it takes, saying so, then migrate: each process's init container."""
    logging.basicConfig(level=settings().log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    uri = settings().direct_uri  # the lock is a session's
    while True:
        try:
            applied = migrate(uri)
        except psycopg.OperationalError as error:
            log.warning("PostgreSQL is away, trying again in 2 s: %s", str(error).strip())
            time.sleep(2)
        else:
            log.info("the schema is at head, %d migrations applied", applied)
            return
