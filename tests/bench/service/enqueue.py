"""One process that enqueues in one of Maestro's peers.

`python -m bench.service.enqueue MODULE burst SECONDS`, with the module of the peer's app, prints
{"rate": jobs a second, "p50": milliseconds of one call}. `MODULE paced SECONDS FILE` gives an idle worker one
job at a time; it notes their ages in the file.
"""

import json
import statistics
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
            print(json.dumps(_burst(module.enqueue, seconds)))


def _burst(enqueue: Callable[[dict[str, Any]], object], seconds: float) -> dict[str, float]:
    taken = []
    began = now = time.perf_counter()
    while now < began + seconds:
        enqueue({"month": "2026-11"})
        before, now = now, time.perf_counter()
        taken.append(now - before)
    return {"rate": len(taken) / (now - began), "p50": statistics.median(taken) * 1000}


if __name__ == "__main__":
    main()
