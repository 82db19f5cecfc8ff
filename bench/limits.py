"""How well the client uses a burst limit that it must not hit.

    python bench/limits.py --calls 1000 --limit 120

A sandbox in a process of its own enforces so many requests in two seconds; the client makes all calls at once. Told are
the answers 429 (none should be), the throughput as a share of what the limit allows, and the client's CPU time a call.
The limit allows `limit` at once and then as many in every two seconds: the share is of that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from pipeflow.client import Client

WINDOW = 2.0


@contextmanager
def sandbox(limit: int) -> Iterator[tuple[str, str]]:
    """Start a sandbox that enforces the limit; gives its URL and API token."""
    command = [sys.executable, "-m", "pipeflow.sandbox", "--with-parent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        body = json.dumps({"kind": "burst", "limit": limit}).encode()
        asked = urllib.request.Request(f"{told['url']}/_sandbox/faults", body, {"content-type": "application/json"})
        urllib.request.urlopen(asked, timeout=10).close()
        try:
            yield told["url"], told["api_token"]
        finally:
            process.terminate()


async def measure(calls: int, limit: int) -> None:
    """Make the calls and print what came of them."""
    with sandbox(limit) as (url, token):
        async with Client(api_token=token, base_url=url) as client:
            await client.pipelines.get_pipeline(1)  # learns the limit, opens the first connection
            await asyncio.sleep(WINDOW)
            with client.capture() as sent:
                began, cpu = time.perf_counter(), time.process_time()
                await asyncio.gather(*(client.pipelines.get_pipeline(1) for _ in range(calls)))
                took, used = time.perf_counter() - began, time.process_time() - cpu
    statuses = Counter(answer.status for answer in sent)
    least = (math.ceil(calls / limit) - 1) * WINDOW
    print(f"{calls} calls under {limit} in {WINDOW:g} s: {dict(statuses)}")
    print(f"took {took:.2f} s, the limit asks for {least:.2f} s")
    print(f"throughput {calls / took:.1f}/s, {calls / took / (limit / WINDOW):.3f} of limit / {WINDOW:g} s")
    if least:
        print(f"share of what the limit allows: {least / took:.3f}")
    print(f"CPU {used / calls * 1e6:.0f} us a call")


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--limit", type=int, default=120, help="120 is the largest plan's for an API token")
    given = parser.parse_args()
    asyncio.run(measure(given.calls, given.limit))


if __name__ == "__main__":
    main()
