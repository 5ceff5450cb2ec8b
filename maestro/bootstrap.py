"""Makes the Secrets a release lacks, once: `maestro bootstrap`, run by the chart before install and upgrade.

A Secret that exists is never touched, so passwords survive upgrades and a reinstall over kept
volumes can log in. No release owns them, and nothing here prints what they hold.
"""

import base64
import logging
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from maestro.errors import BadInput, Conflict, MaestroError, Unavailable
from maestro.kube import SECRET, Kind, Kube

log = logging.getLogger(__name__)

_MANAGER = "maestro-bootstrap"
_VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
_PASSWORD_BYTES = 32


class Release(BaseSettings):
    """What the chart says of the release: `MAESTRO_` and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix="MAESTRO_", extra="ignore")

    release_name: str
    release_namespace: str

    bootstrap_secrets: Annotated[list[str], NoDecode] = Field(default_factory=lambda: list(_CREDENTIALS))
    """Which Secrets to make; those that somebody else provides are left out."""

    bootstrap_check_volumes: bool = True
    """Refuse to invent a password for a volume that already has one. Off where volumes may be made first."""

    @field_validator("bootstrap_secrets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("bootstrap_secrets")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        unknown = sorted(set(value) - set(_CREDENTIALS))
        if unknown:
            raise ValueError(f"unknown: {', '.join(unknown)}; known are {', '.join(_CREDENTIALS)}")
        return value


def _password() -> str:
    """Random, and safe to write into a URI as it is."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def database_credentials(release: Release) -> dict[str, str]:
    """The bundled PostgreSQL's user, and where it is."""
    password = _password()
    host = f"{release.release_name}-postgresql.{release.release_namespace}.svc"
    return {
        "username": "maestro",
        "password": password,
        "database": "maestro",
        "uri": f"postgresql://maestro:{password}@{host}:5432/maestro",
    }


def broker_credentials(release: Release) -> dict[str, str]:
    """The bundled RabbitMQ's user and virtual host, and where it is."""
    password = _password()
    host = f"{release.release_name}-rabbitmq.{release.release_namespace}.svc"
    return {
        "username": "maestro",
        "password": password,
        "vhost": release.release_name,
        "uri": f"amqp://maestro:{password}@{host}:5672/{release.release_name}",
        "management-uri": f"http://maestro:{password}@{host}:15672",
        "erlang-cookie": _password(),
    }


def auth_credentials(_release: Release) -> dict[str, str]:
    """The admin's bearer token and the key of workers."""
    return {"admin-token": _password(), "worker-key": _password()}


@dataclass(frozen=True)
class Credentials:
    """How one Secret is made, and which bundled server's volume remembers its password."""

    make: Callable[[Release], dict[str, str]]
    server: str | None


_CREDENTIALS: Mapping[str, Credentials] = {
    "database": Credentials(database_credentials, "postgresql"),
    "broker": Credentials(broker_credentials, "rabbitmq"),
    "auth": Credentials(auth_credentials, None),
}


def bootstrap(kube: Kube, release: Release) -> None:
    """Make what is missing. Raises MaestroError that says what to do when that would break something."""
    for concept in release.bootstrap_secrets:
        _ensure(kube, release, concept)


def _ensure(kube: Kube, release: Release, concept: str) -> None:
    name = f"{release.release_name}-{concept}"
    credentials = _CREDENTIALS[concept]
    data = credentials.make(release)
    if _exists(kube, release, name, data):
        return
    if credentials.server and release.bootstrap_check_volumes:
        _refuse_old_volume(kube, release, name, f"data-{release.release_name}-{credentials.server}-0")
    try:
        kube.create(_secret(release, name, concept, data), manager=_MANAGER)
    except Conflict:  # somebody made it in this very moment: theirs counts
        _exists(kube, release, name, data)
    else:
        log.info("Secret %s made", name)


def _exists(kube: Kube, release: Release, name: str, expected: Mapping[str, str]) -> bool:
    found = kube.get(SECRET, release.release_namespace, name)
    if found is None:
        return False
    data = found.get("data") or {}
    missing = sorted(key for key in expected if not data.get(key))
    if missing:
        raise BadInput(
            f"Secret {name} in namespace {release.release_namespace} lacks {', '.join(missing)}. "
            "Add what it lacks; or, to have a new one made, delete it and the bundled server's volume, "
            "whose data knows the old password only."
        )
    log.info("Secret %s exists and is left as it is", name)
    return True


def _refuse_old_volume(kube: Kube, release: Release, name: str, claim: str) -> None:
    if kube.get(_VOLUME_CLAIM, release.release_namespace, claim) is None:
        return
    raise BadInput(
        f"Secret {name} is missing, but the volume claim {claim} exists: its data knows the old password "
        f"only. Restore Secret {name} from your backup; or, to begin without the old data, delete the claim: "
        f"kubectl --namespace {release.release_namespace} delete pvc {claim}"
    )


def _secret(release: Release, name: str, concept: str, data: Mapping[str, str]) -> dict[str, object]:
    labels = {
        "app.kubernetes.io/name": "maestro",
        "app.kubernetes.io/instance": release.release_name,
        "app.kubernetes.io/component": concept,
        "app.kubernetes.io/managed-by": _MANAGER,
    }
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": release.release_namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": encoded}


def main() -> int:
    """The process: 0 when every Secret is there, 1 when trying again may help, 2 when somebody must act."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        bootstrap(Kube.connect(), Release())  # type: ignore[call-arg]  # filled from the environment
    except ValidationError as error:
        wrong = (f"MAESTRO_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors())
        log.error("bootstrap needs other settings: %s", "; ".join(wrong))
        return 2
    except Unavailable as error:
        log.error("bootstrap could not finish: %s", error.message)
        return 1
    except MaestroError as error:
        log.error("bootstrap failed: %s", error.message)
        return 2
    return 0
