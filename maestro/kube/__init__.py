"""The Kubernetes API as plain JSON: kinds, and a small client whose errors are Maestro's own."""

from maestro.kube.client import Kube
from maestro.kube.kinds import (
    AUTOMATION,
    CALENDAR,
    CONFIG_MAP,
    DEPLOYMENT,
    EVENT,
    POD,
    SCHEDULE,
    SECRET,
    SERVICE_ACCOUNT,
    Kind,
    kind_of,
)

__all__ = [
    "AUTOMATION",
    "CALENDAR",
    "CONFIG_MAP",
    "DEPLOYMENT",
    "EVENT",
    "POD",
    "SCHEDULE",
    "SECRET",
    "SERVICE_ACCOUNT",
    "Kind",
    "Kube",
    "kind_of",
]
