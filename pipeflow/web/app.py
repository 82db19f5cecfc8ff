"""The web application: the receiver in front, Starlette's routes behind it. Imports neither engine nor cli."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pipeflow.errors import StoreError
from pipeflow.settings import Settings
from pipeflow.store.base import Store
from pipeflow.vault import Vault
from pipeflow.web.receiver import PREFIX, Receive, Receiver, Scope, Send


class App:
    """Everything that is served: deliveries go straight to `receiver`, the rest through `routes`."""

    def __init__(self, receiver: Receiver, routes: Starlette) -> None:
        self.receiver = receiver
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            await self.receiver(scope, receive, send)
        else:
            await self.routes(scope, receive, send)


def create_app(
    store: Store,
    settings: Settings,
    vault: Vault,
    *,
    ready: Callable[[], bool | str],
    clock: Callable[[], float] = time.time,
) -> App:
    """Build the ASGI application over an open store.

        app = create_app(store, settings, vault, ready=lambda: True)

    `ready` says True, or why not yet, for `/readyz`; `clock` gives seconds since 1970.
    """
    receiver = Receiver(store, vault, clock=clock)

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("alive\n")

    async def readyz(_: Request) -> Response:
        state = ready()
        if state is not True:
            return PlainTextResponse(f"{state or 'not ready yet'}\n", status_code=503)
        try:
            await store.accounts()
        except StoreError as error:
            return PlainTextResponse(f"{error}\n", status_code=503)
        return PlainTextResponse("ready\n")

    async def metrics(_: Request) -> Response:
        from pipeflow.web.metrics import render

        return Response(render(receiver.counters, await store.counts()), media_type="text/plain; version=0.0.4")

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    if settings.client_id is not None:
        from pipeflow.web.oauth import OAuthRoutes

        routes += OAuthRoutes(store, settings, vault, clock=clock, changed=receiver.forget_companies).routes()
    return App(receiver, Starlette(routes=routes))
