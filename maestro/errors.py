"""Every error Maestro raises on purpose, one tree.

    MaestroError
    ├── BadInput                 what was sent can't be read or breaks a rule; says which and how to mend it
    ├── ParametersRefused        valid JSON that the automation's parameter schema refuses, with its fields
    ├── IdempotencyKeyReused     the key stands for a call with another body
    ├── NotFound
    │   └── KindNotServed        the cluster lacks the kind itself: its CRD is not installed
    ├── Unauthorized
    ├── Forbidden
    ├── TooLarge
    ├── Conflict                 the state of things forbids it now
    │   ├── NameTaken
    │   ├── AutomationSuspended
    │   ├── AttemptSuperseded    the caller's attempt of a job is not the current one
    │   ├── ConcurrencyLimited   the job waits for a slot of its automation's maxConcurrency
    │   ├── JobEnded             a terminal state and its result never change
    │   └── OwnedElsewhere       another field manager owns what would be written
    ├── SpecRefused              a custom resource the schema let through but Maestro can't serve
    └── Unavailable              a dependency is away: try again
        ├── DatabaseAway
        ├── BrokerAway
        └── KubernetesAway

A message is one sentence or two for the person who can act on it: what is wrong, and what to do.
The api renders the tree in one place (`maestro_api.errors`), the operator in one too (conditions and events).
"""

from dataclasses import dataclass

ERROR_HEADER = "X-Maestro-Error"
"""On each reply that refuses something, its class in this tree: so it is told from a proxy's refusal, and
from that of another server at a mistaken address."""


class MaestroError(Exception):
    """Something Maestro refuses or can't do."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip())

    @property
    def message(self) -> str:
        return str(self.args[0])


class BadInput(MaestroError):
    """The request can't be read."""


@dataclass(frozen=True)
class FieldError:
    """One parameter and what is wrong with it."""

    name: str
    message: str


class ParametersRefused(MaestroError):
    """The parameters don't fit the automation's parameter schema."""

    def __init__(self, fields: list[FieldError], message: str | None = None) -> None:
        super().__init__(message or "; ".join(f"{field.name}: {field.message}" for field in fields))
        self.fields = fields


class IdempotencyKeyReused(MaestroError):
    """This Idempotency-Key was used with another body within 24 hours; send a new key, or the same body."""


class NotFound(MaestroError):
    """There is no such thing."""


class KindNotServed(NotFound):
    """The cluster does not serve this kind; install Maestro's CRDs."""


class Unauthorized(MaestroError):
    """Credentials are missing or wrong."""


class Forbidden(MaestroError):
    """These credentials may not do this."""


class TooLarge(MaestroError):
    """The body is larger than this server takes."""


class Conflict(MaestroError):
    """The state of things forbids this now."""


class NameTaken(Conflict):
    """That name is in use; choose another one."""


class AutomationSuspended(Conflict):
    """The automation is suspended; resume it and execute again."""


class AttemptSuperseded(Conflict):
    """This attempt of the job is not the current one; drop the message and stop."""


class ConcurrencyLimited(Conflict):
    """The automation's maxConcurrency is reached; drop this message, another comes once there is room."""


class JobEnded(Conflict):
    """The job has ended; its state and result never change."""


class OwnedElsewhere(Conflict):
    """Another field manager owns this field; change it there, or send ?force=true to take it over."""


class SpecRefused(MaestroError):
    """A custom resource that passed its schema but can't be served.

    `reason` is the CamelCase reason of its condition, `condition` the condition's type.
    """

    def __init__(self, reason: str, message: str, condition: str = "Ready") -> None:
        super().__init__(message)
        self.reason = reason
        self.condition = condition


class Unavailable(MaestroError):
    """A dependency is away; try again in a few seconds."""


class DatabaseAway(Unavailable):
    """PostgreSQL can't be reached; try again in a few seconds."""


class BrokerAway(Unavailable):
    """RabbitMQ can't be reached; try again in a few seconds."""


class KubernetesAway(Unavailable):
    """The Kubernetes API server can't be reached; try again in a few seconds."""
