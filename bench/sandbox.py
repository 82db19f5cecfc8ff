"""How fast the sandbox delivers: whoever measures against it must know that it is not the bottleneck.

    python bench/sandbox.py --deliveries 20000 --fields 0

A sandbox in a process of its own makes that many changes and delivers them to a sink in this one, which answers 200 and
does nothing else. Told are deliveries a second, the sandbox's CPU time for one (change included), and its memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")


class Sink(asyncio.Protocol):
    """Answers every POST at once and counts it."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.pending = b""

    def data_received(self, data: bytes) -> None:
        self.pending += data
        while (end := self.pending.find(b"\r\n\r\n")) >= 0:
            head = self.pending[:end].lower()
            place = head.find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self.pending) < end + 4 + length:
                return
            self.pending = self.pending[end + 4 + length :]
            Sink.count += 1
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def call(url: str, token: str, body: Any = None) -> Any:
    """Ask the sandbox."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"x-api-token": token, "content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, content, headers), timeout=600) as answer:
        return json.load(answer)


def used(pid: int) -> tuple[float, float]:
    """Give the CPU seconds and the megabytes that a process has used."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (int(words[11]) + int(words[12])) / TICKS, pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def sandbox(fields: int) -> Iterator[tuple[int, str, str]]:
    """Run a sandbox beside; gives its process, its URL and its API token."""
    command = [sys.executable, "-m", "pipeflow.sandbox", "--fields", str(fields)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        ready = json.loads(child.stdout.readline()) if child.stdout else {}
        yield child.pid, ready["url"], ready["api_token"]
    finally:
        child.terminate()
        child.wait()


async def measure(deliveries: int, version: str, pid: int, url: str, token: str) -> None:
    """Deliver and tell."""
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    hook = {"subscription_url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", "name": "bench"}
    hook |= {"event_action": "*", "event_object": "deal", "version": version}
    await asyncio.to_thread(call, f"{url}/v1/webhooks", token, hook)
    (cpu, _), begun = used(pid), time.perf_counter()
    await asyncio.to_thread(call, f"{url}/_sandbox/bulk", token, {"count": deliveries})
    await asyncio.to_thread(call, f"{url}/_sandbox/idle?timeout=600", token)
    wall, (spent, memory) = time.perf_counter() - begun, used(pid)
    counted = Sink.count - 1  # one was the look whether anybody is there
    print(f"{counted} of {deliveries} deliveries, version {version}")
    print(f"{counted / wall:8.0f} deliveries a second")
    print(f"{(spent - cpu) / deliveries * 1e6:8.0f} us of the sandbox's CPU for a change and its delivery")
    print(f"{memory:8.0f} MB at the end")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=20_000)
    parser.add_argument("--fields", type=int, default=0)
    parser.add_argument("--version", choices=("1.0", "2.0"), default="2.0")
    given = parser.parse_args()
    with sandbox(given.fields) as (pid, url, token):
        asyncio.run(measure(given.deliveries, given.version, pid, url, token))


if __name__ == "__main__":
    main()
