"""The way to Pipedrive: the proxy that the environment names, and httpx without its command line. Imports nothing."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from urllib.parse import urlsplit


def load_httpx() -> None:
    """Import httpx as where click is missing: its own command line would load that, rich and pygments for nothing."""
    if "httpx" in sys.modules:
        return
    sys.modules["httpx._main"] = None  # type: ignore[assignment]  # which makes its import fail, as httpx expects
    try:
        import_module("httpx")
    finally:
        del sys.modules["httpx._main"]


@lru_cache(maxsize=1024)
def proxy_of(root: str) -> str | None:
    """Give the proxy that the environment or the system names for an address, as for other programs."""
    from urllib.request import getproxies, proxy_bypass

    try:
        parts, proxies = urlsplit(root), getproxies()
    except ValueError:  # no address at all, as the connection will say
        return None
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.hostname or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
