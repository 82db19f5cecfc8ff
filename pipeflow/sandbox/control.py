"""The control surface under `/_sandbox/`: what tests and people may see and do that Pipedrive has no API for.

Without a token on loopback; elsewhere it asks for the first user's API token.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from zoneinfo import ZoneInfo

from pipeflow.sandbox.access import unauthorized
from pipeflow.sandbox.answers import Answer, Record, RefusedError
from pipeflow.sandbox.bulk import make_many
from pipeflow.sandbox.clock import parse
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.grants import App, Switches
from pipeflow.sandbox.incoming import Incoming
from pipeflow.sandbox.limits import BURST
from pipeflow.sandbox.seed import add_user
from pipeflow.sandbox.webhooks import shown

if TYPE_CHECKING:
    from pipeflow.sandbox.oauth import OAuthServer
    from pipeflow.sandbox.sandbox import Sandbox

IDLE_SECONDS: Final = 30.0


class Control:
    """Answers `/_sandbox/…`; every body and answer is JSON."""

    def __init__(self, sandbox: Sandbox, oauth: OAuthServer) -> None:
        self._sandbox = sandbox
        self._oauth = oauth

    async def answer(self, incoming: Incoming) -> Answer:
        """Answer one request."""
        if not self._sandbox.open_control and incoming.headers.get("x-api-token") != self._sandbox.api_token:
            return unauthorized()
        name = incoming.path.removeprefix("/_sandbox").strip("/")
        door = DOORS.get((incoming.method, name))
        if door is None:
            there = sorted(f"{method} /_sandbox/{path}" for method, path in DOORS)
            return Answer({"error": "there is no such door", "doors": there}, 404)
        if incoming.broken:
            return Answer({"error": incoming.broken.message}, 400)
        try:
            return Answer(await door(self, incoming, incoming.object))
        except KeyError as error:
            return Answer({"error": f"{error.args[0]} is missing in the body"}, 400)
        except (ValueError, TypeError) as error:
            return Answer({"error": str(error)}, 400)
        except RefusedError as refused:
            return Answer({"error": refused.message}, refused.status)
        finally:
            if incoming.method != "GET":
                self._sandbox.touch()

    def _home(self, body: Record) -> Company:
        return self._sandbox.home(body.get("company"))

    def _webhook(self, body: Record) -> tuple[Company, Record]:
        company, number = self._home(body), int(body["id"])
        if number not in company.webhooks:
            raise ValueError(f"{company.domain} has no webhook {number}; GET /_sandbox/webhooks lists them")
        return company, company.webhooks[number]

    # What is there

    async def _state(self, incoming: Incoming, body: Record) -> Any:
        counts = {
            company.domain: {kind: sum(1 for _ in company.living(kind)) for kind in company.tables}
            for company in self._sandbox.companies.values()
        }
        return {
            "time": self._sandbox.clock.stamp(),
            "scale": self._sandbox.clock.scale,
            "companies": counts,
            "webhooks": sum(len(company.webhooks) for company in self._sandbox.companies.values()),
            "deliveries": self._sandbox.webhooks.sender.counts(),
            "idle": self._sandbox.webhooks.sender.idle,
            "requests": self._sandbox.journal.count,
            "events": {
                company.domain: company.counters.get("event", 0) for company in self._sandbox.companies.values()
            },
            "team": self._sandbox.team.rate,
        }

    async def _companies(self, incoming: Incoming, body: Record) -> Any:
        return [_shown_company(company, incoming.base_url) for company in self._sandbox.companies.values()]

    async def _add_company(self, incoming: Incoming, body: Record) -> Any:
        return _shown_company(self._sandbox.add_company(**body), incoming.base_url)

    async def _set_company(self, incoming: Incoming, body: Record) -> Any:
        company = self._home(body)
        if "plan" in body:
            if body["plan"] not in BURST:
                raise ValueError(f"there is no plan {body['plan']!r}; there are {', '.join(BURST)}")
            company.plan = body["plan"]
        if "timezone" in body:
            company.timezone = str(ZoneInfo(body["timezone"]))
        for number in range(len(company.users), int(body.get("users", 0))):
            add_user(company, f"Person {number + 1}")
        if "contact_sync" in body:
            company.extras["contact_sync"] = bool(body["contact_sync"])
        return _shown_company(company, incoming.base_url)

    async def _requests(self, incoming: Incoming, body: Record) -> Any:
        like = _named(incoming, "method", "path", "operation", "company", "status")
        after, most = _window(incoming)
        return self._sandbox.journal.listed(after, most, **like)

    async def _forget_requests(self, incoming: Incoming, body: Record) -> Any:
        self._sandbox.journal.clear()
        return {}

    async def _events(self, incoming: Incoming, body: Record) -> Any:
        after, most = _window(incoming)
        like = _named(incoming, "company", "kind", "action", "record_id", "event_id")
        found = (
            one
            for one in self._sandbox.events
            if one["number"] > after and all(str(one[name]) == text for name, text in like.items())
        )
        return list(islice(found, most))

    async def _deliveries(self, incoming: Incoming, body: Record) -> Any:
        query = dict(incoming.query)
        after, most = _window(incoming)
        like = _named(incoming, "kind", "action", "record_id", "status", "event_id", "company", "webhook_id")
        only = [name for name in query.get("only", "").split(",") if name]
        found = (
            one
            for one in self._sandbox.webhooks.sender.kept(after)
            if all(str(getattr(one, name)) == text for name, text in like.items())
        )
        return [one.listed(body=query.get("bodies") == "1", only=only) for one in islice(found, most)]

    async def _again(self, incoming: Incoming, body: Record) -> Any:
        return self._sandbox.webhooks.again(int(body["number"])).listed()

    # Webhooks

    async def _webhooks(self, incoming: Incoming, body: Record) -> Any:
        self._sandbox.webhooks.expire()
        return [
            {**shown(one), "company": company.domain, "failures": one["failures"], "banned_until": one["banned_until"]}
            for company in self._sandbox.companies.values()
            for one in company.webhooks.values()
        ]

    async def _remove_webhook(self, incoming: Incoming, body: Record) -> Any:
        company, webhook = self._webhook(body)
        self._sandbox.webhooks.remove(company, webhook, body.get("reason"))
        return shown(webhook)

    async def _ban_webhook(self, incoming: Incoming, body: Record) -> Any:
        _, webhook = self._webhook(body)
        self._sandbox.webhooks.ban(webhook)
        return shown(webhook)

    async def _modes(self, incoming: Incoming, body: Record) -> Any:
        return asdict(self._sandbox.webhooks.modes) | {"noop_events": self._sandbox.company.noop_events}

    async def _set_modes(self, incoming: Incoming, body: Record) -> Any:
        if "noop_events" in body:
            for company in self._sandbox.companies.values():
                company.noop_events = bool(body["noop_events"])
        self._sandbox.webhooks.set_modes(**{name: value for name, value in body.items() if name != "noop_events"})
        return await self._modes(incoming, body)

    # Faults, clock, changes

    async def _faults(self, incoming: Incoming, body: Record) -> Any:
        return self._sandbox.faults.listed()

    async def _add_fault(self, incoming: Incoming, body: Record) -> Any:
        self._sandbox.faults.add(**body)
        return self._sandbox.faults.listed()

    async def _clear_faults(self, incoming: Incoming, body: Record) -> Any:
        self._sandbox.faults.clear(dict(incoming.query).get("kind"))
        return self._sandbox.faults.listed()

    async def _clock(self, incoming: Incoming, body: Record) -> Any:
        clock, sender = self._sandbox.clock, self._sandbox.webhooks.sender
        return {"time": clock.stamp(), "scale": clock.scale, "delivery_timeout": sender.timeout}

    async def _set_clock(self, incoming: Incoming, body: Record) -> Any:
        if "scale" in body:
            self._sandbox.clock.scale = float(body["scale"])
        if "to" in body:
            self._sandbox.clock.advance(parse(body["to"]).timestamp() - self._sandbox.clock.seconds())
        if "advance" in body:
            self._sandbox.clock.advance(float(body["advance"]))
        if "delivery_timeout" in body:
            self._sandbox.webhooks.sender.timeout = float(body["delivery_timeout"])
        self._sandbox.webhooks.expire()
        return await self._clock(incoming, body)

    async def _act(self, incoming: Incoming, body: Record) -> Any:
        return self._sandbox.act(**body)

    async def _tell(self, incoming: Incoming, body: Record) -> Any:
        return {"event_id": self._sandbox.tell(**body)}

    async def _bulk(self, incoming: Incoming, body: Record) -> Any:
        return await make_many(self._sandbox, **body)

    async def _idle(self, incoming: Incoming, body: Record) -> Any:
        """Wait until no delivery is due; what waits for its retry does not count."""
        sender = self._sandbox.webhooks.sender
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sender.rest(), float(dict(incoming.query).get("timeout", IDLE_SECONDS)))
        return {"idle": sender.idle, "deliveries": sender.counts()}

    async def _team(self, incoming: Incoming, body: Record) -> Any:
        return {"rate": self._sandbox.team.rate}

    async def _set_team(self, incoming: Incoming, body: Record) -> Any:
        if "rate" in body:
            self._sandbox.team.rate = float(body["rate"])
            self._sandbox.team.start()
        for _ in range(int(body.get("steps", 0))):
            self._sandbox.team.step()
        return await self._team(incoming, body)

    # OAuth

    async def _grants(self, incoming: Incoming, body: Record) -> Any:
        oauth = self._sandbox.oauth
        installed = [
            {"client_id": one.client_id, "company": one.domain, "user_id": one.user_id, "refreshes": one.refreshes}
            for one in oauth.grants
        ]
        switches = {one.name: getattr(oauth.switches, one.name) for one in fields(Switches)}
        apps = [{"client_id": one.client_id, "redirect_uri": one.redirect_uri} for one in oauth.apps.values()]
        return {"switches": switches, "apps": apps, "grants": installed}

    async def _set_oauth(self, incoming: Incoming, body: Record) -> Any:
        self._sandbox.oauth.switches = replace(self._sandbox.oauth.switches, **body)
        return await self._grants(incoming, body)

    async def _set_app(self, incoming: Incoming, body: Record) -> Any:
        known = self._sandbox.oauth.apps.get(body.get("client_id", ""))
        given = {**body, "scopes": tuple(body["scopes"])} if "scopes" in body else body
        self._sandbox.oauth.add_app(replace(known, **given) if known else App(**given))
        return await self._grants(incoming, body)

    async def _expire(self, incoming: Incoming, body: Record) -> Any:
        self._sandbox.oauth.expire_access()
        return await self._grants(incoming, body)

    async def _uninstall(self, incoming: Incoming, body: Record) -> Any:
        client_id = body.get("client_id") or next(iter(self._sandbox.oauth.apps))
        company = self._home(body)
        user_id = int(body.get("user_id") or company.admin["id"])
        if body.get("told") is False:
            return {"uninstalled": self._sandbox.oauth.revoke_user(client_id, company.domain, user_id) is not None}
        return {"uninstalled": await self._oauth.uninstall(client_id, company.domain, user_id)}


def _named(incoming: Incoming, *names: str) -> dict[str, str]:
    return {name: value for name, value in incoming.query if name in names}


def _shown_company(company: Company, base_url: str) -> Record:
    return {
        "id": company.id,
        "domain": company.domain,
        "name": company.name,
        "plan": company.plan,
        "timezone": company.timezone,
        "contact_sync": bool(company.extras.get("contact_sync")),
        "url": f"{base_url}/c/{company.domain}",
        "users": [
            {"id": user["id"], "name": user["name"], "admin": user["is_admin"], "api_token": user["token"]}
            for user in company.users
        ],
    }


def _window(incoming: Incoming) -> tuple[int, int | None]:
    """Give the number after which a listing begins, and how many it has at most."""
    query = dict(incoming.query)
    return int(query.get("after", 0)), int(query["limit"]) if "limit" in query else None


Door: TypeAlias = Callable[[Control, Incoming, Record], Awaitable[Any]]
DOORS: Final[dict[tuple[str, str], Door]] = {
    ("GET", "state"): Control._state,
    ("GET", "companies"): Control._companies,
    ("POST", "companies"): Control._add_company,
    ("POST", "company"): Control._set_company,
    ("GET", "requests"): Control._requests,
    ("DELETE", "requests"): Control._forget_requests,
    ("GET", "events"): Control._events,
    ("GET", "deliveries"): Control._deliveries,
    ("POST", "deliveries/again"): Control._again,
    ("GET", "webhooks"): Control._webhooks,
    ("POST", "webhooks/remove"): Control._remove_webhook,
    ("POST", "webhooks/ban"): Control._ban_webhook,
    ("GET", "modes"): Control._modes,
    ("POST", "modes"): Control._set_modes,
    ("GET", "faults"): Control._faults,
    ("POST", "faults"): Control._add_fault,
    ("DELETE", "faults"): Control._clear_faults,
    ("GET", "clock"): Control._clock,
    ("POST", "clock"): Control._set_clock,
    ("POST", "act"): Control._act,
    ("POST", "tell"): Control._tell,
    ("POST", "bulk"): Control._bulk,
    ("GET", "idle"): Control._idle,
    ("GET", "team"): Control._team,
    ("POST", "team"): Control._set_team,
    ("GET", "oauth"): Control._grants,
    ("POST", "oauth"): Control._set_oauth,
    ("POST", "oauth/app"): Control._set_app,
    ("POST", "oauth/expire"): Control._expire,
    ("POST", "oauth/uninstall"): Control._uninstall,
}
