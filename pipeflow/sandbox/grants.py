"""OAuth's state: apps, authorization codes, grants and their tokens, on the sandbox's clock. Talks to nobody."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from pipeflow.sandbox.clock import Clock

CODE_SECONDS: Final = 5 * 60.0
REMEMBER_SECONDS: Final = 3600.0
ACCESS_SECONDS: Final = 60 * 60.0
REFRESH_SECONDS: Final = 60 * 86400.0
SCOPES: Final = (
    "base",
    "deals:full",
    "contacts:full",
    "activities:full",
    "leads:full",
    "products:full",
    "users:read",
    "recents:read",
    "search:read",
    "webhooks:full",
    "admin",
)


class GrantError(Exception):
    """A token request that is refused; `error` is the short word beside the text."""

    def __init__(self, message: str, error: str = "invalid_grant") -> None:
        super().__init__(message)
        self.message = message
        self.error = error


@dataclass(slots=True)
class App:
    """An app of the marketplace; exactly one callback URL."""

    client_id: str
    client_secret: str
    name: str
    redirect_uri: str
    scopes: tuple[str, ...] = SCOPES


@dataclass(slots=True)
class Code:
    """An authorization code: five minutes, once."""

    client_id: str
    domain: str
    user_id: int
    expires: float
    used: bool = False


@dataclass(slots=True)
class Grant:
    """What one user of one company allowed one app: the refresh token and the living access tokens."""

    client_id: str
    domain: str
    company_id: int
    user_id: int
    scopes: tuple[str, ...]
    refresh_token: str
    last_used: float
    access: dict[str, float] = field(default_factory=dict)
    refreshes: int = 0


@dataclass(slots=True)
class Switches:
    """Where Pipedrive's behaviour is not published, or is to be tested.

    `rotation`: each refresh gives a new refresh token and kills the old. `parallel_failure`: a second refresh of a
    grant within a second of real time is refused. `old_access_dies`: a refresh kills the access tokens before.
    `scope_separator`: a comma, or a space. `delay`: seconds before the token endpoint answers.
    `ids_as_text`: the ids in the uninstall call are text.
    """

    rotation: bool = False
    parallel_failure: bool = False
    old_access_dies: bool = False
    scope_separator: str = ","
    delay: float = 0.0
    ids_as_text: bool = False


class Grants:
    """Issues and checks codes and tokens."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._seed = seed
        self._issued = 0
        self.apps: dict[str, App] = {}
        self.codes: dict[str, Code] = {}
        self.grants: list[Grant] = []
        self.switches = Switches()

    def add_app(self, app: App) -> None:
        """Register an app, or change one."""
        self.apps[app.client_id] = app

    def client(self, client_id: str | None, secret: str | None) -> App:
        """Check a client's credentials."""
        if not client_id or not secret:
            raise GrantError("Invalid client: cannot retrieve client credentials", "invalid_client")
        app = self.apps.get(client_id)
        if app is None or not hmac.compare_digest(app.client_secret.encode(), secret.encode()):
            raise GrantError("Invalid client: client is invalid", "invalid_client")
        return app

    def new_code(self, app: App, domain: str, user_id: int) -> str:
        """Issue an authorization code."""
        now = self._clock.seconds()
        self.codes = {code: one for code, one in self.codes.items() if one.expires > now - REMEMBER_SECONDS}
        code = self._secret("code")[:40]
        self.codes[code] = Code(app.client_id, domain, user_id, now + CODE_SECONDS)
        return code

    def exchange(self, app: App, code: str, company_id: int | None = None) -> Grant:
        """Turn a code into a grant; a code works once."""
        found = self.codes.get(code)
        if found is None or found.used or found.client_id != app.client_id:
            raise GrantError("Invalid grant: authorization_code is invalid")
        found.used = True
        if found.expires < self._clock.seconds():
            raise GrantError("Invalid grant: authorization_code has expired")
        self.revoke_user(app.client_id, found.domain, found.user_id)
        grant = Grant(
            client_id=app.client_id,
            domain=found.domain,
            company_id=company_id or 0,
            user_id=found.user_id,
            scopes=app.scopes,
            refresh_token="",
            last_used=self._clock.seconds(),
        )
        grant.refresh_token = self._new_refresh(grant)
        self.grants.append(grant)
        return grant

    def refresh(self, app: App, token: str) -> Grant:
        """Find the grant of a refresh token and use it: that starts its 60 days again."""
        now = self._clock.seconds()
        for grant in self.grants:
            if grant.refresh_token != token or grant.client_id != app.client_id:
                continue
            if now - grant.last_used > REFRESH_SECONDS:
                break
            grant.last_used = now
            grant.refreshes += 1
            if self.switches.rotation:
                grant.refresh_token = self._new_refresh(grant)
            if self.switches.old_access_dies:
                grant.access.clear()
            return grant
        raise GrantError("Invalid grant: refresh_token is invalid")

    def new_access(self, grant: Grant) -> str:
        """Issue an access token for an hour."""
        now = self._clock.seconds()
        grant.access = {token: expires for token, expires in grant.access.items() if expires > now}
        token = "v1u:" + "".join(self._secret(f"access/{part}") for part in range(3))
        grant.access[token] = now + ACCESS_SECONDS
        return token

    def access(self, token: str) -> Grant | None:
        """Find the grant of a living access token."""
        for grant in self.grants:
            expires = grant.access.get(token)
            if expires is not None:
                return grant if expires > self._clock.seconds() else None
        return None

    def revoke(self, app: App, token: str) -> Grant | None:
        """Revoke a token. An access token dies alone; a refresh token ends the grant, which is then given back."""
        for grant in self.grants:
            if grant.client_id != app.client_id:
                continue
            if grant.access.pop(token, None) is not None:
                return None
            if grant.refresh_token == token:
                self.grants.remove(grant)
                return grant
        return None

    def revoke_user(self, client_id: str, domain: str, user_id: int) -> Grant | None:
        """End what a user allowed an app."""
        wanted = (client_id, domain, user_id)
        for grant in self.grants:
            if (grant.client_id, grant.domain, grant.user_id) == wanted:
                self.grants.remove(grant)
                return grant
        return None

    def expire_access(self) -> None:
        """Let every access token expire now."""
        for grant in self.grants:
            grant.access = dict.fromkeys(grant.access, self._clock.seconds() - 1)

    def _new_refresh(self, grant: Grant) -> str:
        return f"{grant.company_id}:{grant.user_id}:{self._secret('refresh')[:40]}"

    def _secret(self, name: str) -> str:
        self._issued += 1
        return hashlib.sha512(f"{self._seed}/{name}/{self._issued}".encode()).hexdigest()

    def dumped(self) -> dict[str, Any]:
        """Write everything as JSON data."""
        return {
            "issued": self._issued,
            "apps": [asdict(one) for one in self.apps.values()],
            "codes": {code: asdict(one) for code, one in self.codes.items()},
            "grants": [asdict(one) for one in self.grants],
            "switches": asdict(self.switches),
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Read back what `dumped` wrote."""
        self._issued = data["issued"]
        self.apps = {one["client_id"]: App(**{**one, "scopes": tuple(one["scopes"])}) for one in data["apps"]}
        self.codes = {code: Code(**one) for code, one in data["codes"].items()}
        self.grants = [Grant(**{**one, "scopes": tuple(one["scopes"])}) for one in data["grants"]]
        self.switches = Switches(**data["switches"])
