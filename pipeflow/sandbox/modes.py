"""How deliveries are made where Pipedrive's way is not published, and the mischief of a test. Imports nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Modes:
    """The switches of deliveries.

    `parallel`: how many are sent at once (1: strictly one after the other). `duplicates`: each goes that many times
    more. `reorder`: each waits a random part of so many seconds first. `hold`: none goes until this is taken away, and
    then in `order` (`first`, `last`, `shuffled`). `dark`: every one is dropped, as during a ban.
    `shared_event_id`: the deliveries of one event to several webhooks have one `meta.id`. `old_dates`: events of
    products have the times they had before April 2026. `ban`: ten failures ban a webhook; `ban_resets`: a success
    sets the counter back. `quiet_is_dark`: days without any event count for the deletion after three dark days.
    `remove_listed`: a webhook that Pipedrive deleted stays in the list, inactive.
    """

    parallel: int = 16
    duplicates: int = 0
    reorder: float = 0.0
    hold: bool = False
    order: str = "first"
    dark: bool = False
    shared_event_id: bool = True
    old_dates: bool = False
    ban: bool = True
    ban_resets: bool = False
    quiet_is_dark: bool = False
    remove_listed: bool = True
