"""One process that enqueues in one of Maestro's peers.

`python -m bench.service.enqueue MODULE burst SECONDS`, with the module of the peer's app, prints how many
jobs it enqueued a second. `MODULE paced SECONDS FILE` gives an idle worker one job at a time; that notes
their ages in the file.
"""

import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.service.pace import send_paced

_WARM_UP_SECONDS = 0.5


def main() -> None:
    module, how, seconds = import_module(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    with module.opened():
        if how == "paced":
            send_paced(lambda now: module.enqueue({"sent": now}), seconds, Path(sys.argv[4]))
        else:
            _burst(module.enqueue, _WARM_UP_SECONDS)
            print(_burst(module.enqueue, seconds))


def _burst(enqueue: Callable[[dict[str, Any]], object], seconds: float) -> float:
    done, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        enqueue({"month": "2026-11"})
        done += 1
    return done / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
