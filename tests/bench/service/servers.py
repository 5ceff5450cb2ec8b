"""PostgreSQL and RabbitMQ of the benchmarks' own, as they come: a commit waits for the disk."""

import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg

from bench.service.statements import Statement, parse
from integration import servers
from maestro.db.migrate import migrate

_LOG_PREFIX = "%n|%p|%a|"  # what `statements.parse` reads
_SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers")


@dataclass(frozen=True)
class Servers:
    """Both, and the databases that are copied from."""

    database: servers.Database
    broker: servers.Broker

    @contextmanager
    def fresh_database(self, template: str | None = None) -> Iterator[str]:
        """The URI of a database that goes with the block; without a template it is empty."""
        with servers.database_of(self.database, template) as uri:
            yield uri

    @contextmanager
    def fresh_broker(self) -> Iterator[str]:
        """The AMQP URL of a virtual host that goes with the block."""
        with servers.vhost_of(self.broker) as broker:
            yield broker.amqp_url

    @contextmanager
    def template(self) -> Iterator[str]:
        """A database at this version's schema."""
        name = f"bench_{uuid.uuid4().hex}"
        self.database.execute(f"CREATE DATABASE {name}")
        migrate(self.database.uri(name))
        yield name
        self.database.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def log_statements_of(self, uri: str) -> None:
        """From the next connection on, each statement in this database goes to the server's log."""
        self.database.execute(f"ALTER DATABASE {uri.rpartition('/')[2]} SET log_statement = 'all'")

    def statements(self, since: float, until: float) -> list[Statement]:
        """What was logged in this time, in Unix seconds."""
        # --since goes by when the engine got the line, which is a little later.
        command = ["docker", "logs", "--since", f"{since - 1:.3f}", self.database.container.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [each for each in parse(done.stderr + done.stdout) if since <= each.at < until]

    def commits_a_second(self, seconds: float) -> float:
        """Rows that one connection inserts and commits, one at a time: what the disk allows."""
        with psycopg.connect(self.database.uri(), autocommit=True) as connection:
            connection.execute("CREATE TABLE bench_commits (number integer)")
            done, began = 0, time.perf_counter()
            while time.perf_counter() < began + seconds:
                connection.execute("INSERT INTO bench_commits VALUES (1)")
                done += 1
            elapsed = time.perf_counter() - began
            connection.execute("DROP TABLE bench_commits")
        return done / elapsed

    def versions(self) -> str:
        """Of both, with what makes them safe."""
        with psycopg.connect(self.database.uri()) as connection:
            shown = [connection.execute(f"SHOW {name}").fetchone() for name in _SETTINGS]
        version, *settings = [row[0] for row in shown if row]
        named = ", ".join(f"{name} {value}" for name, value in zip(_SETTINGS[1:], settings, strict=True))
        broker = self.broker.call("GET", "/overview").json()
        return (
            f"PostgreSQL {version} ({named}), RabbitMQ {broker['rabbitmq_version']} on Erlang "
            f"{broker['erlang_version']}"
        )


@contextmanager
def started() -> Iterator[Servers]:
    """Both servers until the block ends."""
    with ExitStack() as stack:
        database = servers.start_database(servers.own_name("bench-postgres"))
        stack.callback(database.container.remove)
        broker = servers.start_broker(servers.own_name("bench-rabbitmq"))
        stack.callback(broker.container.remove)
        database.execute(f"ALTER SYSTEM SET log_line_prefix = '{_LOG_PREFIX}'")
        database.execute("SELECT pg_reload_conf()")
        yield Servers(database, broker)
