"""The pages of connecting: what a person sees after consent, refusal, uninstall or trouble. Standard library alone."""

from __future__ import annotations

from html import escape

STYLE = (
    "body{font:17px/1.6 system-ui,sans-serif;max-width:34rem;margin:4rem auto;padding:0 1.2rem;color:#1c2430}"
    "h1{font-size:1.7rem;line-height:1.25}a.button{display:inline-block;padding:.6rem 1.1rem;border-radius:.4rem;"
    "background:#1f5f3a;color:#fff;text-decoration:none}small{color:#5a6675}"
)
INSTALL = "install"
"""The way to connect, as seen from the other addresses under `/oauth/`, wherever a proxy puts them."""


def page(title: str, *sentences: str, button: str = "") -> str:
    """Write a page: a title, a few sentences, and, where `button` has words, a way to connect (again)."""
    told = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    more = f'<p><a class="button" href="{INSTALL}">{escape(button)}</a></p>' if button else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{told}{more}</main></body></html>"
    )


def connected(company: str, name: str) -> str:
    """Say that it worked."""
    return page(
        f"{company} is connected",
        f"Automations now work for {company} in Pipedrive, on behalf of {name}.",
        "There is nothing else to do: you can close this window. To end it, uninstall the app in Pipedrive under "
        "Settings > Tools and apps.",
    )


def refused() -> str:
    """Say that the person said no, and that this is fine."""
    return page(
        "Nothing was connected",
        "You cancelled, so Pipedrive gave no access and nothing was changed.",
        "Should that have been a mistake, start again.",
        button="Connect Pipedrive",
    )


def stale() -> str:
    """Say that the way here took too long, or began in another browser."""
    return page(
        "Please start again",
        "This link is older than five minutes, was used already, or was opened in another browser than the one in "
        "which it began. Nothing was connected by it.",
        button="Connect Pipedrive",
    )


def maintenance() -> str:
    """Say that it does not work just now."""
    return page(
        "Please try again in a few minutes",
        "Pipedrive, or this service, is in maintenance at the moment. Nothing was connected.",
        button="Try again",
    )


def misconfigured() -> str:
    """Say that the person can do nothing about it, and who can."""
    return page(
        "This app is not set up correctly",
        "Pipedrive does not accept this app's own credentials or address. Nothing was connected, and it is not your "
        "fault: please tell the people who run this app. Their log says what is wrong.",
    )
