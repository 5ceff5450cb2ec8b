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


def helm(*arguments: str, stdin: str | None = None) -> str:
    """Run helm in the release's namespace and return its output; raises AssertionError with what it said."""
    command = [_executable(), "--kube-context", CONTEXT, "--namespace", RELEASE, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr.strip()}\n{done.stdout.strip()}"
    return done.stdout


def values_of_the_release() -> str:
    """What `make up` gave it, to install it again."""
    return helm("get", "values", RELEASE, "--output", "yaml")
