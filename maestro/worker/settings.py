"""What a worker reads from its environment, `MAESTRO_` and the name in capitals."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    """The operator sets these in a managed worker's pod; a worker of your own sets them itself."""

    model_config = SettingsConfigDict(env_prefix="MAESTRO_", extra="ignore", env_ignore_empty=True)

    api_url: str
    """The REST API, ending in /api/v1."""

    worker_key: SecretStr
    """Sent as X-Worker-API-Key; `make worker-key` prints it."""

    amqp_url: SecretStr
    """amqp://user:password@host:port/vhost; permission to read the queue is enough."""

    queue: str
    """Consumed one message at a time; never declared, so it may come later than the worker."""

    script: Path | None = None
    """The file that holds `run`: this or `module`."""

    module: str | None = None
    """The Python module that holds `run`, importable from the working directory."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Of the bot's root logger: what is below it is not recorded."""

    heartbeat_seconds: float = Field(default=30, gt=0)
    """Between two signs of life; each tells the bot's progress and asks whether the job was canceled."""

    progress_seconds: float = Field(default=5, gt=0)
    """Progress that changed is told after this long already."""

    release_seconds: float = Field(default=5, ge=0)
    """How long a worker that is told twice to stop offers its job back to an API that is away."""

    cancellation_grace_seconds: float = Field(default=60, ge=0)
    """What a bot gets to return by itself once cancellation is asked; then it is terminated."""

    termination_seconds: float = Field(default=10, ge=0)
    """From telling a bot to terminate (SIGTERM: its `finally` blocks run) to killing it."""

    start_retry_seconds: float = Field(default=300, ge=0)
    """How long a message is held while the API is away at start; then it is handed back to the queue."""

    delivery_retry_seconds: float = Field(default=6 * 3600, ge=0)
    """How long log lines and the result of a job are offered to an API that is away."""

    ready_file: Path | None = Path("/tmp/maestro-worker-ready")  # noqa: S108 - for a probe in the same pod
    """Exists while the worker consumes or runs a bot; absent while it waits for the broker or the queue."""

    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Where the worker shows its metrics to Prometheus; 0: nowhere."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("api_url")
    @classmethod
    def _without_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_bot(self) -> Self:
        if bool(self.script) == bool(self.module):
            raise ValueError("set MAESTRO_SCRIPT (a file) or MAESTRO_MODULE (a Python module), one of them")
        return self
