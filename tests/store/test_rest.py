"""Accounts, webhooks, field definitions, writes and watermarks."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from pipeflow.store.base import Account, Store, Webhook, Write
from tests.store.builders import COMPANY, NOW, finish, make_run


def account(**fields: object) -> Account:
    return replace(Account(0, COMPANY, 7, "oauth", credentials=b"\x00secret", connected_at=NOW), **fields)  # type: ignore[arg-type]


async def saved(store: Store, one: Account) -> Account:
    answer = await store.save_account(one)
    assert answer is not None
    return answer


async def test_account_comes_back_as_it_was_saved(store: Store) -> None:
    first = await saved(store, account(is_admin=True, acting=True, expires_at=NOW + 0.25, reason="ünï"))
    assert await store.accounts() == [first]
    assert (first.credentials, first.is_admin, first.acting, first.expires_at) == (
        b"\x00secret",
        True,
        True,
        NOW + 0.25,
    )
    assert b"secret".decode() not in repr(first)


async def test_account_changes_only_from_the_version_that_is_stored(store: Store) -> None:
    first = await saved(store, account())
    second = await saved(store, replace(first, status="paused"))
    assert second.version == first.version + 1
    assert await store.save_account(replace(first, status="connected")) is None
    assert await store.accounts() == [second]


async def test_of_two_who_save_at_once_one_wins(store: Store, other: Store) -> None:
    first = await saved(store, account())
    answers = await asyncio.gather(
        store.save_account(replace(first, reason="one")), other.save_account(replace(first, reason="two"))
    )
    assert sum(answer is not None for answer in answers) == 1


async def test_connecting_again_updates_the_account_and_keeps_its_id(store: Store) -> None:
    first = await saved(store, account())
    again = await saved(store, account(credentials=b"new"))
    assert (again.id, again.credentials) == (first.id, b"new")
    assert again.version > first.version
    assert await store.accounts() == [again]
    assert (await saved(store, account(mode="token"))).id != first.id


async def test_accounts_come_in_the_order_in_which_they_were_connected(store: Store) -> None:
    late = await saved(store, account(user_id=1, connected_at=NOW + 1))
    early = await saved(store, account(user_id=2, connected_at=NOW))
    assert [one.id for one in await store.accounts()] == [early.id, late.id]


async def test_company_has_one_acting_account(store: Store) -> None:
    first = await saved(store, account(acting=True))
    elsewhere = await saved(store, account(company=COMPANY + 1, acting=True))
    second = await saved(store, account(user_id=8, acting=True))
    assert {one.id: one.acting for one in await store.accounts()} == {
        first.id: False,
        elsewhere.id: True,
        second.id: True,
    }
    assert await store.save_account(first) is None


async def test_webhooks_are_replaced_company_by_company(store: Store) -> None:
    def webhook(number: int, company: int = COMPANY) -> Webhook:
        url = f"https://example.com/webhooks/{company}"
        return Webhook(number, company, 1, "change", "deal", url, "2.0", "pipeflow", True, NOW)

    await store.save_webhooks(COMPANY, [webhook(1), webhook(2)])
    await store.save_webhooks(COMPANY + 1, [webhook(3, COMPANY + 1)])
    await store.save_webhooks(COMPANY, [webhook(2)])
    assert await store.webhooks(COMPANY) == [webhook(2)]
    assert await store.webhooks() == [webhook(2), webhook(3, COMPANY + 1)]


async def test_field_definitions_are_kept_by_kind(store: Store) -> None:
    await store.save_fields(COMPANY, "deal", b"[1]", NOW)
    await store.save_fields(COMPANY, "person", b"[2]", NOW)
    await store.save_fields(COMPANY, "deal", b"[3]", NOW)
    assert await store.fields(COMPANY) == {"deal": b"[3]", "person": b"[2]"}
    assert await store.fields(1) == {}


def write(**fields: object) -> Write:
    one = Write(0, 5, "a.one", ("a.one", "a.two"), 1, COMPANY, "deal", "42", "update_deal", {"value": 5}, None, NOW)
    return replace(one, **fields)  # type: ignore[arg-type]


async def test_write_is_kept_before_it_is_sent_and_settled_after(store: Store) -> None:
    write_id = await store.add_write(write(record_id=None, before={"value": 4}))
    (open_write,) = await store.writes(run_id=5)
    assert open_write == write(id=write_id, record_id=None, before={"value": 4})
    await store.settle_write(write_id, "done", NOW + 1, record_id="43", answer={"id": 43})
    (settled,) = await store.writes()
    assert (settled.outcome, settled.settled_at, settled.record_id, settled.answer) == (
        "done",
        NOW + 1,
        "43",
        {"id": 43},
    )


async def test_settling_keeps_the_record_that_was_known(store: Store) -> None:
    write_id = await store.add_write(write())
    await store.settle_write(write_id, "refused", NOW)
    (settled,) = await store.writes()
    assert (settled.record_id, settled.outcome, settled.answer) == ("42", "refused", None)


async def test_writes_are_found_oldest_first(store: Store) -> None:
    late = await store.add_write(write(intended_at=NOW + 2))
    early = await store.add_write(write(intended_at=NOW, run_id=None))
    person = await store.add_write(write(intended_at=NOW + 1, kind="person", company=COMPANY + 1))
    assert [one.id for one in await store.writes()] == [early, person, late]
    assert [one.id for one in await store.writes(company=COMPANY, kind="deal")] == [early, late]
    assert [one.id for one in await store.writes(run_id=5)] == [person, late]
    assert [one.id for one in await store.writes(since=NOW + 2)] == [late]


async def test_writes_go_with_the_run_that_made_them(store: Store) -> None:
    run = await make_run(store, received_at=100.0)
    await finish(store, run)
    await store.add_write(write(run_id=run.id))
    await store.purge(200.0, limit=10)
    assert await store.writes() == []


async def test_watermark_never_goes_back(store: Store) -> None:
    for value in (100.25, 99.0, 101.5, 101.0):
        await store.save_watermark(COMPANY, "deal", value, NOW)
    await store.save_watermark(COMPANY, "person", 5.0, NOW)
    assert await store.watermarks(COMPANY) == {"deal": 101.5, "person": 5.0}
    assert await store.watermarks(1) == {}
