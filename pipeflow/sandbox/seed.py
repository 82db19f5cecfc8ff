"""Fill a company with sample data: users, pipelines, people, deals, fields of every type. The same for a seed."""

from __future__ import annotations

import hashlib
import random
from datetime import timedelta
from typing import Any

from pipeflow.sandbox import words
from pipeflow.sandbox.answers import Record
from pipeflow.sandbox.changes import Actor
from pipeflow.sandbox.clock import Clock, stamp
from pipeflow.sandbox.company import Company
from pipeflow.sandbox.custom import ADDRESS
from pipeflow.sandbox.fields import BUILT_IN, CUSTOM_NAMES, LABELS, built_in, option

OPTIONS = {"enum": ("Low", "Medium", "High"), "set": ("Hardware", "Software", "Services", "Дизайн")}


def make_company(seed: int, number: int, clock: Clock, *, deals: int = 30, extra_fields: int = 0) -> Company:
    """Make the `number`th company of a seed (0 is the first) with `deals` deals and what belongs to them.

    `extra_fields` adds that many further text fields to deals, for those who test with hundreds.
    """
    stem = words.COMPANIES[number] if number < len(words.COMPANIES) else f"company{number + 1}"
    digest = hashlib.sha1(f"{seed}/{stem}".encode(), usedforsecurity=False).hexdigest()[:6]
    company = Company(4410021 + number, f"{stem}-{digest}", f"{stem.capitalize()} Ltd", clock, seed)
    company.counters |= {"user": 5521000 + number * 100, "webhook": 770130 + number * 1000, "field": 0}
    chance = random.Random(f"{seed}/{stem}")  # noqa: S311
    _users(company, stem)
    actor = Actor(company.admin["id"])
    _set_up(company, actor, extra_fields)
    _people(company, chance, actor, max(4, deals))
    _deals(company, chance, actor, deals)
    _special(company, actor)
    return company


def _users(company: Company, stem: str) -> None:
    zones = ("Europe/Tallinn", "Europe/Tallinn", "America/New_York", "Europe/Berlin")
    for (name, login, admin), zone in zip(words.USERS, zones, strict=True):
        add_user(company, name, f"{login}@{stem}.example", admin=admin, zone=zone)


def add_user(
    company: Company,
    name: str,
    email: str = "",
    *,
    admin: bool = False,
    zone: str = "Europe/Tallinn",
    actor: Actor | None = None,
) -> Record:
    """Add a user with an API token, the same for seed, company and e-mail; without an actor people add themselves."""
    email = email or f"{name.lower().replace(' ', '.')}@{company.domain}.example"
    digest = hashlib.sha1(f"{company.seed}/{company.domain}/{email}".encode(), usedforsecurity=False).hexdigest()
    values: Record = {
        "name": name,
        "email": email,
        "is_admin": admin,
        "role_id": 1 if admin else 2,
        "timezone_name": zone,
        "token": f"sandbox-{digest[:32]}",
        "last_login": company.clock.stamp(),
    }
    return company.add("user", values, actor or Actor(company.counters["user"] + 1))


def _set_up(company: Company, actor: Actor, extra_fields: int) -> None:
    now = company.clock.stamp()
    for kind in BUILT_IN:
        fields = built_in(kind, now, company.counters["field"] + 1)
        company.counters["field"] += len(fields)
        company.fields[kind] = {one["key"]: one for one in fields}
    for kind in ("deal", "person", "organization", "product", "project"):
        _custom_fields(company, kind, actor)
    for number in range(extra_fields):
        company.add_field("deal", f"Extra {number + 1}", "varchar", actor)
    for name in words.ACTIVITY_TYPES:
        values = {"name": name.capitalize(), "key_string": name, "icon_key": name, "is_custom_flag": False}
        company.add("activityType", values, actor)
    for pipeline, stages in words.STAGES.items():
        home = company.add("pipeline", {"name": pipeline}, actor)
        for place, stage in enumerate(stages):
            chance = 10 + 80 * place // max(1, len(stages) - 1)
            company.add("stage", {"name": stage, "pipeline_id": home["id"], "deal_probability": chance}, actor)
    for _, label, color in LABELS:
        company.add("lead_label", {"name": label, "color": color}, actor)
    board = company.add("board", {"name": "Delivery"}, actor)
    for name in ("Kick-off", "Work", "Hand-over"):
        company.add("phase", {"name": name, "board_id": board["id"]}, actor)
    for name, code, price in words.PRODUCTS:
        prices = [{"price": price, "currency": "EUR", "cost": 0, "direct_cost": None, "notes": ""}]
        company.add("product", {"name": name, "code": code, "prices": prices}, actor)


def _custom_fields(company: Company, kind: str, actor: Actor) -> None:
    """Define one field of every type, and two that share a name (one of them with a deleted option)."""
    now = company.clock.stamp()
    for field_type, name in CUSTOM_NAMES.items():
        company.add_field(kind, name, field_type, actor, options=_options(company, field_type, now))
    company.add_field(kind, "Region", "varchar", actor)
    options = [option(company.next_number("option", 13), label, now) for label in ("North", "South", "Closed")]
    company.add_field(kind, "Region", "enum", actor, options=options[:2], options_deleted=options[2:])


def _options(company: Company, field_type: str, now: str) -> list[Record] | None:
    if field_type not in OPTIONS:
        return None
    return [option(company.next_number("option", 13), label, now) for label in OPTIONS[field_type]]


def _people(company: Company, chance: random.Random, actor: Actor, count: int) -> None:
    for number in range(min(count, 400) // 2):
        name = words.ORGANIZATIONS[number % len(words.ORGANIZATIONS)]
        street = words.STREETS[number % len(words.STREETS)]
        values = {
            "name": name if number < len(words.ORGANIZATIONS) else f"{name} {number}",
            "address": dict.fromkeys(ADDRESS) | {"value": street, "formatted_address": street},
            "add_time": _past(company, chance, 200, 300),
        }
        company.add("organization", values, _somebody(company, chance))
    for number in range(min(count, 400)):
        name = words.PEOPLE[number % len(words.PEOPLE)]
        human: Record = {
            "name": name if number < len(words.PEOPLE) else f"{name} {number}",
            "emails": [{"value": f"person{number + 1}@customer.example", "primary": True, "label": "work"}],
            "phones": [{"value": f"+372555{number:04d}", "primary": True, "label": "mobile"}],
            "org_id": 1 + number % max(1, len(company.tables["organization"])),
            "add_time": _past(company, chance, 120, 200),
        }
        company.add("person", human, _somebody(company, chance))


def _deals(company: Company, chance: random.Random, actor: Actor, count: int) -> None:
    people = list(company.tables["person"])
    stages = list(company.tables["stage"])
    for number in range(count):
        deal = company.add("deal", deal_values(company, chance, people, stages), _somebody(company, chance))
        if number % 3 == 0:
            _activity_of(company, chance, deal)
        if number % 6 == 5:
            outcome: Record = {"status": "won"} if number % 12 == 5 else {"status": "lost", "lost_reason": "No answer"}
            company.change("deal", deal["id"], outcome, actor)
        if number % 5 == 0:
            note = words.NOTES[number % len(words.NOTES)]
            company.add("note", {"content": note, "deal_id": deal["id"], "person_id": deal["person_id"]}, actor)
    for number in range(min(6, count)):
        values = {"title": f"Inquiry {number + 1}", "person_id": people[number % len(people)]}
        company.add("lead", values | {"value": {"amount": 250 * (number + 1), "currency": "EUR"}}, actor)


def deal_values(company: Company, chance: random.Random, people: list[int], stages: list[int]) -> Record:
    """Draw the values of a new deal."""
    person = company.tables["person"][chance.choice(people)]
    topic = chance.choice(words.DEALS)
    organization = company.tables["organization"].get(person["org_id"], {})
    return {
        "title": f"{organization.get('name') or person['name']}: {topic}",
        "value": chance.randrange(5, 400) * 50,
        "person_id": person["id"],
        "org_id": person["org_id"],
        "stage_id": chance.choice(stages),
        "add_time": _past(company, chance, 1, 100),
        "expected_close_date": (company.clock.now() + timedelta(days=chance.randrange(5, 90))).date().isoformat(),
        "custom_fields": _custom_values(company, chance),
    }


def _custom_values(company: Company, chance: random.Random) -> Record:
    drawn: Record = {}
    for key, field in company.custom_fields("deal").items():
        if chance.random() < 0.4 and (value := _custom_value(company, chance, field)) is not None:
            drawn[key] = value
    return drawn


def _custom_value(company: Company, chance: random.Random, field: Record) -> Any:
    kind, options = field["field_type"], [one["id"] for one in field["options"] or ()]
    today = company.clock.now().date()
    values: dict[str, Any] = {
        "varchar": "Ref 77/B",
        "varchar_auto": "Spring fair",
        "text": "Delivery before noon.\nInvoice by e-mail.",
        "double": chance.randrange(100, 9000) / 4,
        "monetary": {"value": chance.randrange(10, 90) * 100, "currency": "EUR"},
        "enum": chance.choice(options) if options else None,
        "set": sorted(chance.sample(options, 2)) if len(options) > 1 else None,
        "user": company.admin["id"],
        "org": 1,
        "people": 1,
        "phone": "+372 555 0100",
        "date": today.isoformat(),
        "daterange": {"value": today.isoformat(), "until": (today + timedelta(days=365)).isoformat()},
        "time": {"value": "09:00:00", "timezone_name": "Europe/Tallinn"},
        "timerange": {"value": "09:00:00", "until": "17:00:00", "timezone_name": "Europe/Tallinn"},
        "address": dict.fromkeys(ADDRESS) | {"value": words.STREETS[0], "formatted_address": words.STREETS[0]},
    }
    return values.get(kind)


def _activity_of(company: Company, chance: random.Random, deal: Record) -> None:
    values = {
        "subject": chance.choice(words.SUBJECTS),
        "type": chance.choice(words.ACTIVITY_TYPES),
        "deal_id": deal["id"],
        "person_id": deal["person_id"],
        "org_id": deal["org_id"],
        "due_date": (company.clock.now() + timedelta(days=chance.randrange(-3, 14))).date().isoformat(),
        "due_time": "10:30:00",
        "done": chance.random() < 0.3,
    }
    company.add("activity", values, Actor(deal["owner_id"]))


def _special(company: Company, actor: Actor) -> None:
    """Leave what surprises people: an archived and a deleted deal, an archived lead, a value whose option is gone."""
    deals = list(company.tables["deal"])
    if len(deals) < 4:
        return
    company.change("deal", deals[-1], {"is_archived": True}, actor)
    company.delete("deal", deals[-2], actor)
    region = [one for one in company.custom_fields("deal").values() if one["options_deleted"]]
    lost_option = {region[0]["key"]: region[0]["options_deleted"][0]["id"]}
    company.change("deal", deals[-3], {"custom_fields": lost_option}, actor)
    company.change("lead", list(company.tables["lead"])[-1], {"is_archived": True}, actor)


def _somebody(company: Company, chance: random.Random) -> Actor:
    return Actor(chance.choice(list(company.tables["user"])))


def _past(company: Company, chance: random.Random, at_least: int, at_most: int) -> str:
    """Draw a time some days ago."""
    return stamp(company.clock.now() - timedelta(seconds=chance.randrange(at_least * 86400, at_most * 86400)))
