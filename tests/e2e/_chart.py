"""helm against the tests' cluster."""

import os
import shutil
import subprocess
from pathlib import Path

from e2e.cluster import CONTEXT, RELEASE

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "maestro"


def _executable() -> str:
    base = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    cached = Path(os.environ.get("MAESTRO_CACHE", f"{base}/maestro")) / "bin"
    found = shutil.which("helm", path=f"{os.environ['PATH']}:{cached}")
    assert found, "helm is neither on PATH nor in the cache: make up fetches it"
    return found


def run(*command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command; raises AssertionError with what it said when it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}\n{done.stdout.strip()}"
    return done


def _helm(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return run(_executable(), "--kube-context", CONTEXT, "--namespace", RELEASE, *arguments, stdin=stdin)


def helm(*arguments: str, stdin: str | None = None) -> str:
    """helm in the release's namespace: its output."""
    return _helm(*arguments, stdin=stdin).stdout


def helm_test() -> str:
    """All that `helm test` says, the logs of its pod included."""
    done = _helm("test", RELEASE)
    return done.stdout + done.stderr


def kubectl_in_any_namespace(*arguments: str) -> str:
    """kubectl for files whose objects name their own namespaces."""
    return run("kubectl", "--context", CONTEXT, *arguments).stdout


def values_of_the_release() -> str:
    """What `make up` gave it, to install it again."""
    return helm("get", "values", RELEASE, "--output", "yaml")
