"""Answer a request to the REST API: who asks, how much they may, is the request allowed, and what is the answer."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeflow import catalog
from pipeflow.sandbox.access import Identity, authenticate, in_scope
from pipeflow.sandbox.answers import Answer, RefusedError, blocked, over_limit, refusal, unknown_method
from pipeflow.sandbox.faults import Fault
from pipeflow.sandbox.handlers import handler_of
from pipeflow.sandbox.incoming import Incoming
from pipeflow.sandbox.journal import Request
from pipeflow.sandbox.routing import Call, Found, find, operation_of
from pipeflow.sandbox.validate import check_body, check_given, check_query

if TYPE_CHECKING:
    from pipeflow.sandbox.sandbox import Sandbox

PREFIXES: Final = {"/api/v2/": ("v2", "/api/v2/"), "/api/v1/": ("v1", "/v1/"), "/v1/": ("v1", "/v1/")}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a path leads: the generation, the path in the catalog's form, and the company whose host it is."""

    generation: str
    path: str
    domain: str | None


def target_of(path: str) -> Target | None:
    """Read a path; None if it leads to no generation."""
    domain, rest = _company_host(path)
    for prefix, (generation, kept) in PREFIXES.items():
        if rest.startswith(prefix):
            return Target(generation, kept + rest[len(prefix) :], domain)
    return None


def _company_host(path: str) -> tuple[str | None, str]:
    if not path.startswith("/c/"):
        return None, path
    domain, _, rest = path[3:].partition("/")
    return domain, f"/{rest}"


async def answer_api(
    sandbox: Sandbox, incoming: Incoming, target: Target, noted: Request, faults: Mapping[str, Fault]
) -> Answer:
    """Answer one request; `noted` learns which operation of which company it was."""
    identity = authenticate(sandbox, incoming.headers, dict(incoming.query), target.generation, target.domain)
    if isinstance(identity, Answer):
        return identity
    found = find(target.path)
    operation = operation_of(incoming.method, found.template) if found else None
    noted.company, noted.operation = identity.company.domain, operation.id if operation else None
    verdict = sandbox.limits.check(
        identity.company,
        identity.token,
        operation.cost if operation else 1,
        faults,
        oauth=identity.app is not None,
        search="/search" in target.path or "/itemSearch" in target.path,
    )
    if verdict.refused == "blocked":
        return blocked()
    answer = over_limit() if verdict.refused else _refused(identity, incoming, found, operation)
    if answer is None and found is not None:
        answer = await _handled(_call(sandbox, identity, incoming, target, found, operation), incoming, found)
    answer = answer or unknown_method()
    answer.headers |= verdict.headers
    answer.headers.setdefault("x-correlation-id", str(uuid.uuid4()))
    return answer


def _refused(
    identity: Identity, incoming: Incoming, found: Found | None, operation: catalog.Operation | None
) -> Answer | None:
    """Refuse what is no operation, or none of this app's."""
    if found is None:
        return unknown_method()
    if incoming.method not in found.methods:
        return Answer({"success": False, "error": "Method not allowed", "errorCode": 405}, 405)
    if operation and not in_scope(identity, operation):
        return Answer({"success": False, "error": "Scope and URL mismatch", "errorCode": 403}, 403)
    return None


def _call(
    sandbox: Sandbox,
    identity: Identity,
    incoming: Incoming,
    target: Target,
    found: Found,
    operation: catalog.Operation | None,
) -> Call:
    return Call(
        sandbox=sandbox,
        company=identity.company,
        user=identity.user,
        actor=identity.actor(incoming.headers.get("user-agent")),
        generation=target.generation,
        path=found.values,
        query=dict(incoming.query),
        body=incoming.fields,
        files=incoming.files,
        operation=operation,
        app=identity.app,
        base_url=incoming.base_url,
    )


async def _handled(call: Call, incoming: Incoming, found: Found) -> Answer:
    try:
        if incoming.broken:
            raise incoming.broken
        if call.operation:
            _check(call, call.operation, incoming)
        made = handler_of(incoming.method, found.template)(call)
        return await made if inspect.isawaitable(made) else made
    except RefusedError as refused:
        return refusal(refused, call.generation)


def _check(call: Call, operation: catalog.Operation, incoming: Incoming) -> None:
    if call.generation == "v2":
        check_query(operation, incoming.query)
        if operation.body == "json":
            check_body(operation, {} if incoming.fields is None else incoming.fields)
    elif not operation.path.startswith("/v1/webhooks"):
        # The webhooks API says in its own way what is missing.
        names = call.fields.keys()
        check_given(operation, query=call.query.keys(), json=names, form=names, file=call.files.keys())
