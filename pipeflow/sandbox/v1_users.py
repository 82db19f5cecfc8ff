"""Generation 1: users, who I am, activity types, currencies."""

from __future__ import annotations

from pipeflow.sandbox.answers import Answer, Record, RefusedError, ok
from pipeflow.sandbox.routing import Call, route
from pipeflow.sandbox.seed import add_user as make_user
from pipeflow.sandbox.v1_common import one, shape
from pipeflow.sandbox.writes_v1 import read

CURRENCIES = (
    ("EUR", "Euro", 2, "€"),
    ("USD", "US Dollar", 2, "$"),
    ("GBP", "Pound Sterling", 2, "£"),
    ("JPY", "Japanese Yen", 0, "¥"),
    ("CLF", "Unidad de Fomento", 4, "UF"),
    ("UAH", "Ukrainian Hryvnia", 2, "₴"),
)


@route("GET", "/v1/users")
def users(call: Call) -> Answer:
    """List everybody, also deactivated users."""
    return ok([shape(call).show("user", user) for user in call.company.users])


@route("GET", "/v1/users/me")
def me(call: Call) -> Answer:
    """Tell who asks and in which company."""
    company = call.company
    shown: Record = shape(call).show("user", call.user)
    shown |= {
        "company_id": company.id,
        "company_name": company.name,
        "company_domain": company.domain,
        "company_country": company.country,
        "company_industry": "Technology",
        "language": {"language_code": "en", "country_code": "US"},
    }
    return ok(shown)


@route("GET", "/v1/users/find")
def find_users(call: Call) -> Answer:
    """Find users by name, or by e-mail."""
    term, place = call.query.get("term", "").lower(), "email" if call.flag("search_by_email") else "name"
    return ok([shape(call).show("user", user) for user in call.company.users if term in user[place].lower()] or None)


@route("GET", "/v1/users/{id}")
def user(call: Call) -> Answer:
    """Read a user."""
    return one(call, "user", call.company.get("user", call.id()))


@route("POST", "/v1/users")
def add_user(call: Call) -> Answer:
    """Add a user."""
    if not call.fields.get("email"):
        raise RefusedError("email must be given", 400)
    email = str(call.fields["email"])
    name = str(call.fields.get("name") or email.partition("@")[0])
    made = make_user(call.company, name, email, actor=call.actor)
    return one(call, "user", made, status=201)


@route("PUT", "/v1/users/{id}")
def change_user(call: Call) -> Answer:
    """Activate or deactivate a user."""
    before = call.company.get("user", call.id())
    values = {"active_flag": call.fields.get("active_flag") in (True, 1, "1", "true")}
    return one(call, "user", call.company.change("user", before["id"], values, call.actor))


@route("GET", "/v1/activityTypes")
def activity_types(call: Call) -> Answer:
    """List activity types, all at once."""
    return ok([shape(call).show("activityType", kind) for kind in call.company.living("activityType")])


@route("POST", "/v1/activityTypes")
def add_activity_type(call: Call) -> Answer:
    """Add an activity type."""
    if not call.fields.get("name") or not call.fields.get("icon_key"):
        raise RefusedError("name and icon_key must be given", 400)
    made = call.company.add("activityType", read(call, "activityType", {}), call.actor)
    return one(call, "activityType", made, status=201)


@route("PUT", "/v1/activityTypes/{id}")
def change_activity_type(call: Call) -> Answer:
    """Change an activity type."""
    before = call.company.get("activityType", call.id())
    values = read(call, "activityType", before)
    return one(call, "activityType", call.company.change("activityType", before["id"], values, call.actor))


@route("DELETE", "/v1/activityTypes/{id}")
def delete_activity_type(call: Call) -> Answer:
    """Deactivate an activity type."""
    return one(call, "activityType", call.company.delete("activityType", call.id(), call.actor))


@route("GET", "/v1/currencies")
def currencies(call: Call) -> Answer:
    """List currencies."""
    term = call.query.get("term", "").lower()
    rows = [
        {"id": number, "code": code, "name": name, "decimal_points": points, "symbol": symbol, "active_flag": True}
        | {"is_custom_flag": False}
        for number, (code, name, points, symbol) in enumerate(CURRENCIES, 1)
        if term in name.lower() or term == code.lower()
    ]
    return ok(rows)
