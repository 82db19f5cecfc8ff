"""How generation 1 shows the small kinds: notes, users, pipelines, stages, files, projects and their like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from pipeflow.sandbox.answers import Record, v1_time
from pipeflow.sandbox.clock import parse
from pipeflow.sandbox.company import Company


def _timed(record: Record, *names: str) -> Record:
    shown = {name: record[name] for name in names}
    return shown | {"add_time": v1_time(record["add_time"]), "update_time": v1_time(record["update_time"])}


def _note(company: Company, note: Record, me: int | None) -> Record:
    shown = {key: value for key, value in note.items() if key != "delete_time"}
    shown |= {"add_time": v1_time(note["add_time"]), "update_time": v1_time(note["update_time"])}
    deal = company.tables["deal"].get(note["deal_id"])
    person = company.tables["person"].get(note["person_id"])
    organization = company.tables["organization"].get(note["org_id"])
    project = company.tables["project"].get(note["project_id"])
    user = company.tables["user"].get(note["user_id"])
    shown["deal"] = {"title": deal["title"]} if deal else None
    shown["person"] = {"name": person["name"]} if person else None
    shown["organization"] = {"name": organization["name"]} if organization else None
    shown["project"] = {"title": project["title"]} if project else None
    if user:
        shown["user"] = {"email": user["email"], "name": user["name"], "icon_url": None, "is_you": user["id"] == me}
    return shown


def user(company: Company, one: Record, me: int | None) -> Record:
    """Show a user; `me` is who asks."""
    now = parse(company.clock.stamp()).astimezone(ZoneInfo(one["timezone_name"])).strftime("%z")
    shown = {key: value for key, value in one.items() if key not in HIDDEN_OF_USER}
    return shown | {
        "activated": True,
        "last_login": v1_time(one["last_login"]),
        "created": v1_time(one["add_time"]),
        "modified": v1_time(one["update_time"]),
        "has_created_company": one["is_admin"],
        "access": [
            {"app": "global", "admin": one["is_admin"], "permission_set_id": "6b0f9b9e-0000-4000-8000-000000000001"},
            {"app": "sales", "admin": one["is_admin"], "permission_set_id": "6b0f9b9e-0000-4000-8000-000000000002"},
        ],
        "timezone_offset": f"{now[:3]}:{now[3:]}",
        "is_you": one["id"] == me,
        "is_deleted": not one["active_flag"],
    }


HIDDEN_OF_USER = frozenset({"token", "is_admin", "add_time", "update_time", "delete_time"})


def _pipeline(company: Company, pipeline: Record, me: int | None) -> Record:
    return _timed(pipeline, "id", "name", "order_nr") | {
        "url_title": pipeline["name"].lower().replace(" ", "-"),
        "active": not pipeline["is_deleted"],
        "deal_probability": pipeline["is_deal_probability_enabled"],
        "selected": pipeline["id"] == 1,
    }


def _stage(company: Company, stage: Record, me: int | None) -> Record:
    home = company.tables["pipeline"].get(stage["pipeline_id"], {})
    return _timed(stage, "id", "order_nr", "name", "deal_probability", "pipeline_id") | {
        "active_flag": not stage["is_deleted"],
        "rotten_flag": stage["is_deal_rot_enabled"],
        "rotten_days": stage["days_to_rotten"],
        "pipeline_name": home.get("name"),
        "pipeline_deal_probability": home.get("is_deal_probability_enabled"),
    }


def _activity_type(company: Company, one: Record, me: int | None) -> Record:
    names = ("id", "name", "icon_key", "color", "order_nr", "key_string", "active_flag", "is_custom_flag")
    return _timed(one, *names)


def _file(company: Company, file: Record, me: int | None) -> Record:
    shown = {key: value for key, value in file.items() if key != "delete_time"}
    shown |= {"add_time": v1_time(file["add_time"]), "update_time": v1_time(file["update_time"])}
    links = (("deal", "title"), ("person", "name"), ("org", "name"), ("product", "name"), ("lead", "title"))
    for name, title in links:
        kind = "organization" if name == "org" else name
        target = company.tables[kind].get(file[f"{name}_id"], {})
        shown[f"{name}_name"] = target.get(title)
    nothing = ("cid", "s3_bucket", "mail_message_id", "mail_template_id")
    return shown | dict.fromkeys(nothing) | {"url": f"https://app.pipedrive.com/api/v1/files/{file['id']}/download"}


def _comment(company: Company, comment: Record, me: int | None) -> Record:
    shown = _timed(comment, "content", "user_id", "updater_id", "active_flag")
    return shown | {"uuid": str(comment["id"]), "object_id": str(comment["note_id"]), "object_type": "note"}


def _plain(company: Company, record: Record, me: int | None) -> Record:
    shown = {key: value for key, value in record.items() if key not in ("delete_time", "is_deleted", "custom_fields")}
    return shown | {"add_time": v1_time(record["add_time"]), "update_time": v1_time(record["update_time"])}


def _filter(company: Company, stored: Record, me: int | None) -> Record:
    return _plain(company, stored, me) | {"visible_to": str(stored["visible_to"])}


def _lead_label(company: Company, label: Record, me: int | None) -> Record:
    return {name: label[name] for name in ("id", "name", "color", "add_time", "update_time")}


def _project(company: Company, project: Record, me: int | None) -> Record:
    shown = _plain(company, project, me)
    people, organizations = shown.pop("person_ids"), shown.pop("org_ids")
    shown |= {"person_id": people[0] if people else None, "org_id": organizations[0] if organizations else None}
    shown["labels"] = shown.pop("label_ids")
    return shown | {name: v1_time(project[name]) for name in ("status_change_time", "archive_time")}


def _task(company: Company, task: Record, me: int | None) -> Record:
    names = ("id", "title", "project_id", "description", "parent_task_id", "assignee_ids", "due_date", "creator_id")
    shown = _timed(task, *names) | {"done": int(task["is_done"])}
    shown["assignee_id"] = task["assignee_ids"][0] if task["assignee_ids"] else None
    return shown | {"marked_as_done_time": v1_time(task["marked_as_done_time"])}


def _deal_product(company: Company, row: Record, me: int | None) -> Record:
    shown = _plain(company, row, me)
    shown |= {"enabled_flag": shown.pop("is_enabled"), "active_flag": not row["is_deleted"]}
    shown |= {"sum_formatted": f"{row['currency']} {row['sum']:,}", "quantity_formatted": str(row["quantity"])}
    return shown | {"last_edit": shown.pop("update_time")}


SMALL: dict[str, Callable[[Company, Record, int | None], dict[str, Any]]] = {
    "note": _note,
    "user": user,
    "pipeline": _pipeline,
    "stage": _stage,
    "activityType": _activity_type,
    "file": _file,
    "comment": _comment,
    "lead_label": _lead_label,
    "project": _project,
    "task": _task,
    "board": _plain,
    "phase": _plain,
    "filter": _filter,
    "deal_product": _deal_product,
    "deal_installment": _plain,
}
