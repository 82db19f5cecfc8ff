"""The pages a person sees: what is here, consent, the marketplace, and a sentence when something is wrong."""

from __future__ import annotations

from html import escape
from typing import Any

from pipeflow.sandbox.company import Company
from pipeflow.sandbox.grants import App

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}button{margin-right:1rem}"
)


def _page(title: str, body: str) -> str:
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )


def _hidden(name: str, value: str) -> str:
    return f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'


def _choice(accounts: list[tuple[str, str]]) -> str:
    options = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in accounts)
    return f'<p><label>Account <select name="account">{options}</select></label></p>'


def home_page(companies: list[Company]) -> str:
    """Tell who opens the sandbox in a browser what is here, and the tokens that open it."""
    parts = [
        "<p>A fake Pipedrive with sample data. Its API is at <code>/v1</code> and <code>/api/v2</code>, and under"
        " <code>/c/{domain}</code> for one company.</p>"
        '<p><a href="/marketplace">Marketplace</a> · <a href="/_sandbox/state">State</a> ·'
        ' <a href="/_sandbox/requests">Requests</a> · <a href="/_sandbox/deliveries">Deliveries</a> ·'
        ' <a href="/_sandbox/webhooks">Webhooks</a></p>'
    ]
    for company in companies:
        rows = "".join(
            f"<li>{escape(user['name'])}: <code>{escape(user['token'])}</code></li>"
            for user in company.users
            if user["active_flag"]
        )
        parts.append(f"<h2>{escape(company.name)}</h2><p><code>/c/{escape(company.domain)}</code></p><ul>{rows}</ul>")
    return _page("Pipedrive sandbox", "".join(parts))


def consent_page(app: App, query: dict[str, Any], accounts: list[tuple[str, str]]) -> str:
    """Ask a user to allow an app."""
    scopes = "".join(f"<li>{escape(scope)}</li>" for scope in app.scopes)
    kept = "".join(_hidden(name, str(query[name])) for name in ("client_id", "redirect_uri", "state") if name in query)
    return _page(
        f"Install {app.name}?",
        f'<p>{escape(app.name)} asks for:</p><ul>{scopes}</ul><form method="post" action="/oauth/authorize">{kept}'
        f'{_choice(accounts)}<button name="decision" value="allow">Allow and install</button>'
        '<button name="decision" value="deny">Cancel</button></form>',
    )


def marketplace_page(apps: list[App], accounts: list[tuple[str, str]], installed: list[tuple[str, str]]) -> str:
    """List the apps that can be installed, and where they are."""
    names = dict(accounts)
    parts = []
    for app in apps:
        parts.append(
            f'<h2>{escape(app.name)}</h2><form method="post" action="/marketplace/install">'
            f"{_hidden('client_id', app.client_id)}{_choice(accounts)}<button>Install</button></form>"
        )
        for client_id, account in installed:
            if client_id != app.client_id:
                continue
            parts.append(
                f'<form method="post" action="/marketplace/uninstall">{_hidden("client_id", client_id)}'
                f"{_hidden('account', account)}<p>Installed for {escape(names.get(account, account))} "
                "<button>Uninstall</button></p></form>"
            )
    return _page("Marketplace", "".join(parts) or "<p>There are no apps.</p>")


def sorry_page(text: str) -> str:
    """Say one sentence."""
    return _page("Pipedrive sandbox", f"<p>{escape(text)}</p>")
