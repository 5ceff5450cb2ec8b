"""Makes dispatchers to be killed: for each line `<now>` a process of its own that fires what is due then.

It is forked from this one, which has all imports done, and answers with its process id once it begins.
"""

import asyncio
import os
import signal
import sys
from datetime import datetime

from maestro.db import connect
from maestro.schedule.firing import fire_due


async def fire(uri: str, now: datetime) -> None:
    async with await connect(uri) as connection:
        print(os.getpid(), flush=True)
        while (await fire_due(connection, limit=8, now=now)).seen:
            pass


def main(uri: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        if os.fork() == 0:
            asyncio.run(fire(uri, datetime.fromisoformat(line.strip())))
            os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
