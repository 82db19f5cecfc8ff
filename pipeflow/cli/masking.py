"""Takes personal data out of a delivery: names, addresses, numbers and free text, the same value the same way. No I/O.

What is kept is named, what is not is masked: a field that Pipedrive adds tomorrow is masked as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HOST = "example.pipedrive.com"

_KEPT = frozenset(
    [
        "status",
        "currency",
        "default_currency",
        "type",
        "origin",
        "channel",
        "source_name",
        "locale",
        "lang",
        "timezone_name",
        "timezone_id",
        "icon_key",
        "country_code",
        "marketing_status",
        "action",
        "object",
        "entity",
        "event",
        "version",
        "change_source",
        "label",
        "color",
        "app",
        "name_of_source",
        "field_type",
        "billing_frequency",
        "tax_method",
        "discount_type",
        "unit",
    ]
)
_KEPT_META = frozenset(
    [
        "action",
        "entity",
        "entity_id",
        "object",
        "id",
        "company_id",
        "user_id",
        "correlation_id",
        "timestamp",
        "timestamp_micro",
        "v",
        "version",
        "type",
        "webhook_id",
        "webhook_owner_id",
        "change_source",
        "is_bulk_edit",
        "is_bulk_update",
        "attempt",
        "merged_to_id",
        "merged_from_id",
        "trans_pending",
        "pipedrive_service_name",
        "prepublish_timestamp",
    ]
)
_NUMBERED = re.compile(r"(^|_)(id|ids|visible_to|category|order_nr|code)$")
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PHONE = re.compile(r"\+?[\d\s()./-]{5,}")
_PLACES = ("lat", "long", "lng")


class Mask:
    """Masks one delivery; equal texts become equal, so that a change stays a change."""

    def __init__(self) -> None:
        self._masked: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def delivery(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Give the body of a delivery without personal data, in either payload version."""
        masked = {key: self._value(key, value) for key, value in body.items() if key != "meta"}
        meta = body.get("meta")
        if isinstance(meta, Mapping):
            masked["meta"] = {
                key: value if key in _KEPT_META else self._meta(key, value) for key, value in meta.items()
            }
        return {key: masked[key] for key in body if key in masked}

    def _meta(self, key: str, value: Any) -> Any:
        if key == "host":
            return HOST
        # Hundreds of ids that say who may see the record; nothing reads them.
        return [] if key == "permitted_user_ids" else self._value(key, value)

    def _value(self, key: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {inner: self._inner(key, inner, part) for inner, part in value.items()}
        if isinstance(value, list):
            return [self._value(key, part) for part in value]
        if isinstance(value, str):
            return self._text(key, value)
        if isinstance(value, float) and any(place in key for place in _PLACES):
            return 0.0
        return value

    def _inner(self, key: str, inner: str, part: Any) -> Any:
        # What a custom field or an e-mail holds is called `value`; the word around it says what it is.
        return self._value(key if inner == "value" and isinstance(part, str) else inner, part)

    def _text(self, key: str, text: str) -> str:
        if not text or key in _KEPT or (_NUMBERED.search(key) and (text.isdigit() or _UUID.fullmatch(text))):
            return text
        if key != "birthday" and (_DATED.fullmatch(text) or _CLOCK.fullmatch(text)):
            return text
        if text not in self._masked:
            self._masked[text] = self._new(key, text)
        return self._masked[text]

    def _new(self, key: str, text: str) -> str:
        if _MAIL.fullmatch(text):
            return f"person-{self._number('mail')}@example.com"
        if _DATED.fullmatch(text):
            return f"1990-01-{1 + self._number('date') % 28:02d}"
        if text.startswith(("http://", "https://")):
            return f"https://example.com/{self._number('url')}"
        if _PHONE.fullmatch(text):
            return f"+1555{self._number('phone'):07d}"
        word = "Text" if len(key) == 40 else key.replace("_", " ").capitalize()
        return f"{word} {self._number(word)}"

    def _number(self, what: str) -> int:
        self._numbers[what] = self._numbers.get(what, 0) + 1
        return self._numbers[what]
