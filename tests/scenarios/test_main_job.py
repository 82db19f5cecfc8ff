"""The main job: something changes in Pipedrive, a recipe acts, and the terminal and the listings show it."""

from __future__ import annotations

from tests.scenarios.product import Product, eventually


def moved_deal(product: Product) -> int:
    """Add a deal and move it to the next stage, as another integration would."""
    deal = product.pipedrive.call("POST", "/api/v2/deals", {"title": "Espresso bar", "value": 1200})
    stages = product.pipedrive.call("GET", f"/api/v2/stages?pipeline_id={deal['pipeline_id']}")
    other = next(stage["id"] for stage in stages if stage["id"] != deal["stage_id"])
    product.pipedrive.call("PATCH", f"/api/v2/deals/{deal['id']}", {"stage_id": other})
    deal_id: int = deal["id"]
    return deal_id


def test_stage_move_plans_one_call(product: Product) -> None:
    deal_id = moved_deal(product)
    calls = eventually(lambda: product.activities(deal_id), "the planned call")
    assert [call["subject"] for call in calls] == ["Call about Espresso bar"]


def test_won_deal_gets_a_note_and_a_handover(product: Product) -> None:
    deal = product.pipedrive.call("POST", "/api/v2/deals", {"title": "Roastery", "value": 900})
    product.pipedrive.call("PATCH", f"/api/v2/deals/{deal['id']}", {"status": "won"})
    eventually(lambda: product.activities(deal["id"]), "the hand-over")
    notes = eventually(lambda: product.pipedrive.call("GET", f"/v1/notes?deal_id={deal['id']}"), "the note")
    assert "Roastery" in notes[0]["content"]


def test_listings_tell_what_happened_while_run_owns_the_store(product: Product) -> None:
    deal_id = moved_deal(product)
    eventually(lambda: product.activities(deal_id), "the planned call")
    run = eventually(
        lambda: [r for r in product.listed("runs", "--status", "succeeded") if r["record_id"] == str(deal_id)],
        "the run in the listing",
    )[0]
    assert run["handler"] == "follow_up.call_after_stage_move"
    event = product.listed("events", str(run["event_id"]))[0]
    assert "deal.stage_changed" in event["names"]
    assert all(hook["ours"] and hook["version"] == "2.0" for hook in product.listed("webhooks"))


def test_replay_makes_a_new_run_linked_to_the_old(product: Product) -> None:
    deal_id = moved_deal(product)
    run = eventually(lambda: product.listed("runs", "--status", "succeeded"), "a run that succeeded")[0]
    assert product.command("replay", str(run["id"]), "--yes").returncode == 0
    again = eventually(
        lambda: [r for r in product.listed("runs") if r["replay_of"] == run["id"] and r["status"] == "succeeded"],
        "the replayed run",
    )
    assert len(again) == 1
    assert len(product.activities(deal_id)) == 2


def test_second_start_keeps_webhooks_and_history(product: Product) -> None:
    deal_id = moved_deal(product)
    eventually(lambda: product.activities(deal_id), "the planned call")
    before = {hook["id"] for hook in product.listed("webhooks")}
    assert product.stop() == 0
    product.start()
    eventually(lambda: {hook["id"] for hook in product.listed("webhooks")} == before, "the same webhooks")
    assert product.listed("runs", "--status", "succeeded")


def test_acknowledged_events_are_handled_after_kill_dash_nine(product: Product) -> None:
    deals = [moved_deal(product) for _ in range(10)]
    eventually(lambda: len(product.listed("events", "--limit", "0")) >= 10, "stored events")
    product.kill()
    product.start()
    for deal_id in deals:
        eventually(lambda deal_id=deal_id: product.activities(deal_id), f"the call for deal {deal_id}")
