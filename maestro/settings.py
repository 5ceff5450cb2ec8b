"""What the server processes read from their environment, each with its unit and its reason.

Secrets are `SecretStr`: printing the settings shows stars. The worker has settings of its own
(`maestro.worker.settings`), since a bot's pod knows neither the database nor Kubernetes.
"""

from functools import lru_cache
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

SHARED_DEFAULT_QUEUE = "automation_jobs"


class Settings(BaseSettings):
    """The environment of operator, api, dispatcher and migrate: `MAESTRO_` and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix="MAESTRO_", extra="ignore")

    database_uri: SecretStr
    """`postgresql://user:password@host:port/database`."""

    database_direct_uri: SecretStr | None = None
    """The database past any pooler that hands a connection to another client after each transaction: on such
    a one nothing can be heard (LISTEN), no migration holds its lock, and no statement stays prepared. Absent:
    `database_uri` is direct."""

    database_pool_size: int = 8
    """Connections per process at most. In the api 4 are the hot path's, reads get the rest, at least 2."""

    broker_uri: SecretStr
    """`amqp://user:password@host:port/vhost`; a vhost per release."""

    broker_management_uri: SecretStr | None = None
    """`http://user:password@host:15672`; absent: the broker's host and user at the usual port."""

    worker_broker_host: str = ""
    """host:port of the broker as worker pods reach it; empty: the one in `broker_uri`."""

    worker_api_url: str = "http://maestro-api.maestro/api/v1"
    """The api as worker pods reach it, up to and with /api/v1."""

    admin_token: SecretStr = SecretStr("")
    """The static bearer token; empty lets nobody in."""

    worker_key: SecretStr = SecretStr("")
    """The `X-Worker-API-Key`; empty lets nobody in."""

    definitions_namespace: str = "maestro-bots"
    """Where REST writes create their custom resources."""

    watch_namespaces: Annotated[list[str], NoDecode] = Field(default_factory=lambda: ["maestro-bots"])
    """Namespaces whose custom resources are served; `*` alone means the whole cluster."""

    release_namespace: str = "maestro"
    """Where Maestro itself runs; never a place for workers, whose pods could read its Secrets."""

    runner_image: str = "maestro:dev"
    """The image that runs inline scripts, and workers without an image of their own."""

    runner_image_pull_policy: str = "IfNotPresent"

    runner_image_pull_secrets: Annotated[list[str], NoDecode] = Field(default_factory=list)
    """Names of pull secrets in the workers' namespaces."""

    shared_queues: Annotated[list[str], NoDecode] = Field(default_factory=lambda: [SHARED_DEFAULT_QUEUE])
    """Queue names that automations of any namespace may use; all others belong to their first claimer's."""

    default_time_zone: str = "UTC"
    """IANA zone of a schedule that names none."""

    sweep_seconds: float = 30
    """Between two sweeps of the operator; drift is mended within two of them."""

    jobs_retention_days: int = Field(90, ge=0)
    """Days that ended jobs are kept, with their log lines if they have any left; 0: for good."""

    logs_retention_days: int = Field(30, ge=0)
    """Days from a job's creation that its log lines are kept, in whole weeks; 0: as long as the job."""

    log_level: str = "INFO"

    api_port: int = 8000
    health_port: int = 8081
    """Where operator and dispatcher answer /healthz."""

    metrics_port: int = Field(0, ge=0, le=65535)
    """Where each process shows its metrics, open to whoever reaches the port; 0: nowhere."""

    body_limit: int = 1024 * 1024
    """Bytes of a request body at most; more is answered with 413."""

    log_streams: int = 2_000
    """Live logs per api process at most; more are answered with 503."""

    log_stream_patience: float = 30
    """Seconds that the reader of a live log has to take 64 KiB; a slower one is dropped."""

    @field_validator("watch_namespaces", "shared_queues", "runner_image_pull_secrets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @property
    def direct_uri(self) -> str:
        """The database's address for LISTEN and for migrations."""
        return (self.database_direct_uri or self.database_uri).get_secret_value()

    @property
    def pooled(self) -> bool:
        """Whether `database_uri` leads to such a pooler."""
        return self.database_direct_uri is not None

    @property
    def management_uri(self) -> str:
        """The management API's address with credentials, derived from the broker's when not given."""
        if self.broker_management_uri:
            return self.broker_management_uri.get_secret_value().rstrip("/")
        parts = urlsplit(self.broker_uri.get_secret_value())
        user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
        return f"http://{quote(user, safe='')}:{quote(password, safe='')}@{parts.hostname}:15672"

    @property
    def vhost(self) -> str:
        """The broker's virtual host, `/` when the URI names none."""
        return unquote(urlsplit(self.broker_uri.get_secret_value()).path[1:]) or "/"


@lru_cache
def settings() -> Settings:
    """The process's settings, read once. Raises pydantic's ValidationError naming what is missing."""
    return Settings()  # type: ignore[call-arg]  # filled from the environment
