"""How accounts come and go: their rows, who acts for a company, and the event that tells it. Imports store rows.

The web connects and disconnects, the engine finds grants dead, the command line does both: they meet here, so that an
account's change and its event (`account.connected`, `account.disconnected`, `account.needs_reconnect`) are one thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from pipeflow.errors import ClientError, StoreUnavailable
from pipeflow.events import partition_of
from pipeflow.naming import ACCOUNT
from pipeflow.store.base import Account, NewEvent, Store

if TYPE_CHECKING:
    from pipeflow.vault import Vault

TRIES = 20
LIFE_SECONDS = 3600.0
ALIVE = frozenset({"connected", "paused"})


@dataclass(frozen=True, slots=True)
class Grant:
    """What an OAuth account's `credentials` hold: its two tokens and scopes. Nothing of it is in its repr."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    scope: str = field(default="", repr=False)

    def sealed(self, vault: Vault) -> bytes:
        """Encrypt it, as the store keeps it."""
        told = {"access_token": self.access_token, "refresh_token": self.refresh_token, "scope": self.scope}
        return vault.encrypt(orjson.dumps(told))

    @classmethod
    def opened(cls, vault: Vault, sealed: bytes) -> Grant:
        """Decrypt it; ConfigError where no key of the vault fits."""
        return cls(**orjson.loads(vault.decrypt(sealed)))


def account_of(user: Mapping[str, Any], **more: Any) -> Account:
    """Make the account of the user whom `GET /v1/users/me` named; `more` are its other fields.

    Raises ClientError where the answer names no user or company.
    """
    user_id, company = user.get("id"), user.get("company_id")
    if user_id is None or company is None:
        raise ClientError("GET /v1/users/me named no user or company; is PIPEDRIVE_API_URL Pipedrive's?")
    return Account(
        id=0,
        company=int(company),
        user_id=int(user_id),
        name=user.get("name") or "",
        company_name=user.get("company_name") or "",
        company_domain=user.get("company_domain") or "",
        timezone=user.get("timezone_name") or "UTC",
        is_admin=any(bool((part or {}).get("admin")) for part in user.get("access") or ()),
        **more,
    )


def lives(token: Mapping[str, Any]) -> float:
    """Say how many seconds a new access token lives; an hour where the answer does not say it as a number."""
    try:
        return float(token["expires_in"])
    except (KeyError, TypeError, ValueError):
        return LIFE_SECONDS


def trusted_root(told: str, configured: str) -> str | None:
    """Give the API's root that a token answer told, without a slash at its end; None where it is not Pipedrive's.

    Only hosts under the domain of the configured root count: with `https://api.pipedrive.com`, any under
    `pipedrive.com`. No token is ever sent elsewhere.
    """
    try:
        given, ours = urlsplit(told.strip()), urlsplit(configured)
        host, known = given.hostname or "", ours.hostname or ""
        if given.scheme != ours.scheme or given.port != ours.port or given.username or given.query or given.fragment:
            return None
    except ValueError:
        return None
    _, _, domain = known.partition(".")
    below = "." in domain and not known.replace(".", "").isdigit() and host.endswith(f".{domain}")
    return told.strip().rstrip("/") if host == known or below else None


async def connect(store: Store, account: Account, now: float) -> Account:
    """Keep an account that was authorised just now, settle who acts for its company, and tell it.

    One that is there already is connected anew: whatever was stored of it before is replaced.
    """
    known = _find(await store.accounts(), account.company, account.user_id, account.mode)
    gone = known is None or known.status == "disconnected"
    fresh = replace(
        account,
        id=0,
        status="connected",
        reason=None,
        acting=not gone and known is not None and known.acting,
        connected_at=now if gone or known is None else known.connected_at,
        last_used_at=now,
        paused_until=None,
    )
    saved = await store.save_account(fresh) or fresh
    acting = await settle_acting(store, account.company)
    if acting is not None and acting.id == saved.id:
        saved = acting
    await tell(store, saved, "connected", now)
    return saved


async def disconnect(store: Store, account_id: int, reason: str, now: float) -> Account | None:
    """Forget an account's credentials and let the next one act; None where it is not connected."""
    return await _end(store, account_id, "disconnected", reason, now)


async def need_reconnect(store: Store, account: Account, reason: str, now: float) -> Account | None:
    """Mark a dead grant; None where the account has changed since `account` was read."""
    if account.status not in ALIVE:
        return None
    marked = await store.save_account(replace(account, status="needs_reconnect", reason=reason, expires_at=None))
    if marked is not None:
        await settle_acting(store, account.company)
        await tell(store, marked, "needs_reconnect", now)
    return marked


async def settle_acting(store: Store, company: int) -> Account | None:
    """Settle which account acts for a company: the first connected, admins preferred, and no needless change."""
    for _ in range(TRIES):
        best = chosen([account for account in await store.accounts() if account.company == company])
        if best is None or best.acting:
            return best
        if (saved := await store.save_account(replace(best, acting=True))) is not None:
            return saved
    raise StoreUnavailable(f"Who acts for company {company} could not be settled; it is tried again.")


def chosen(accounts: Sequence[Account]) -> Account | None:
    """Choose the account that acts among those of one company; None where none of them is connected."""
    alive = [account for account in accounts if account.status in ALIVE]

    def rank(account: Account) -> tuple[bool, bool, float, int]:
        return not account.is_admin, not account.acting, account.connected_at, account.id

    return min(alive, key=rank, default=None)


async def tell(store: Store, account: Account, action: str, now: float) -> None:
    """Store the event that tells what became of an OAuth account; that of an API token is a setting, and no news."""
    if account.mode == "oauth":
        await store.add_events([account_event(account, action, now)])


def account_event(account: Account, action: str, now: float) -> NewEvent:
    """Make the event `account.<action>`, in the form of a delivery and without any secret."""
    key = f"account:{account.id}:{action}:{account.version}"
    user = str(account.user_id)
    meta: dict[str, Any] = {
        "action": action,
        "entity": ACCOUNT,
        "entity_id": user,
        "company_id": str(account.company),
        "id": key,
        "timestamp": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "version": "2.0",
        "change_source": "app",
    }
    shown = ("name", "company_name", "company_domain", "timezone", "mode", "status", "is_admin", "acting", "reason")
    data = {"id": account.user_id, **{name: getattr(account, name) for name in shown}}
    return NewEvent(
        company=account.company,
        key=key,
        name=f"{ACCOUNT}.{action}",
        kind=ACCOUNT,
        record_id=user,
        action=action,
        source="account",
        raw=orjson.dumps({"meta": meta, "data": data, "previous": None}),
        received_at=now,
        partition=partition_of(account.company, ACCOUNT, user),
        occurred_at=now,
    )


def _find(accounts: Sequence[Account], company: int, user_id: int, mode: str) -> Account | None:
    wanted = (company, user_id, mode)
    return next((one for one in accounts if (one.company, one.user_id, one.mode) == wanted), None)


async def _end(store: Store, account_id: int, status: Any, reason: str, now: float) -> Account | None:
    for _ in range(TRIES):
        found = next((one for one in await store.accounts() if one.id == account_id), None)
        if found is None or found.status == status:
            return None
        ended = replace(found, status=status, reason=reason, credentials=None, expires_at=None, acting=False)
        if (saved := await store.save_account(ended)) is not None:
            await settle_acting(store, saved.company)
            await tell(store, saved, status, now)
            return saved
    raise StoreUnavailable(f"Account {account_id} changes all the time and could not be disconnected; try again.")
