"""Who asks: API tokens and OAuth access tokens, and what an app may reach."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeflow import catalog
from pipeflow.sandbox.answers import UNAUTHORIZED, Answer, Record
from pipeflow.sandbox.changes import Actor
from pipeflow.sandbox.company import Company

if TYPE_CHECKING:
    from pipeflow.sandbox.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Identity:
    """A company's user who asks, with an API token or (`app` is its client id) through an app with some scopes."""

    company: Company
    user: Record
    token: str
    app: str | None = None
    scopes: frozenset[str] = frozenset()

    def actor(self, agent: str | None) -> Actor:
        """Make the actor of what is changed by this request."""
        return Actor(self.user["id"], "api", agent=agent)


def authenticate(
    sandbox: Sandbox, headers: Mapping[str, str], query: Mapping[str, str], generation: str, domain: str | None
) -> Identity | Answer:
    """Tell who asks, or answer 401 (400 for a malformed header); on a company's host only its own tokens count."""
    token = headers.get("x-api-token")
    if token is None and "authorization" not in headers and generation == "v1":
        token = query.get("api_token")
    if token is not None:
        found = sandbox.who(token)
        if found is None or domain not in (None, found[0].domain):
            return unauthorized()
        return Identity(*found, token=token)
    if "authorization" in headers:
        return _bearer(sandbox, headers["authorization"], domain)
    return unauthorized()


def _bearer(sandbox: Sandbox, header: str, domain: str | None) -> Identity | Answer:
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer" or not token:
        return Answer({"success": False, "error": "malformed authorization header", "errorCode": 400}, 400)
    grant = sandbox.oauth.access(token)
    company = sandbox.companies.get(grant.domain) if grant else None
    user = company.tables["user"].get(grant.user_id) if company and grant else None
    if not (grant and company and user and user["active_flag"]) or domain not in (None, grant.domain):
        return unauthorized("Invalid token: access_token is invalid")
    return Identity(company, user, token, grant.client_id, frozenset(grant.scopes))


def unauthorized(error: str = UNAUTHORIZED["error"]) -> Answer:
    """Answer as the gateway does when it does not know who asks."""
    headers = {"x-401-by-gw": "true", "x-correlation-id": str(uuid.uuid4())}
    body: dict[str, Any] = {**UNAUTHORIZED, "error": error}
    return Answer(body, 401, headers)


def in_scope(identity: Identity, operation: catalog.Operation) -> bool:
    """Tell whether an app's scopes allow an operation; an API token may do what its user may."""
    if identity.app is None or not operation.scopes:
        return True
    wanted = set(operation.scopes)
    if "/webhooks" in operation.path:
        wanted |= {"webhooks:full"} | ({"webhooks:read"} if operation.method == "GET" else set())
    return bool(wanted & (identity.scopes | {"base"}))
