"""What `when=` takes: questions about an event that compose with `&`, `|` and `~`. Imports events; no I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pipeflow.catalog.values import Option, Options, Ref
from pipeflow.errors import ConfigError
from pipeflow.events import Changes, Event
from pipeflow.naming import FieldNames

Question = Callable[[Event[Any], FieldNames | None], bool]


class _Anything:
    def __repr__(self) -> str:
        return "ANYTHING"


ANYTHING: Final = _Anything()


@dataclass(frozen=True, slots=True)
class Predicate:
    """A question about an event; `a & b`, `a | b` and `~a` are predicates too.

    @on("deal.updated", when=changed("stage_id", to=5) & ~by_user(17))

    `fields` are the fields it asks about, as they were written.
    """

    ask: Question
    text: str
    fields: frozenset[str] = frozenset()

    def __call__(self, event: Event[Any], fields: FieldNames | None = None) -> bool:
        """Answer for this event; `fields` resolves the names of the company's custom fields."""
        return self.ask(event, fields)

    def __and__(self, other: Predicate) -> Predicate:
        both = self.fields | other.fields
        return Predicate(
            lambda event, fields: self(event, fields) and other(event, fields), f"({self} & {other})", both
        )

    def __or__(self, other: Predicate) -> Predicate:
        both = self.fields | other.fields
        return Predicate(lambda event, fields: self(event, fields) or other(event, fields), f"({self} | {other})", both)

    def __invert__(self) -> Predicate:
        return Predicate(lambda event, fields: not self(event, fields), f"~{self}", self.fields)

    def __str__(self) -> str:
        return self.text


def changed(field: str, *, to: Any = ANYTHING, from_: Any = ANYTHING) -> Predicate:
    """Ask whether a field really changed, and if given to and from which value.

        @on("deal.updated", when=changed("Contract value"))

    `field` is one of the record's own fields (`stage_id`), or a custom field's name or key; choices go by label or id:
    `changed("Source", to="Web")`. Raises ConfigError at the run where two custom fields carry that name (the message
    lists both keys), and where none does any more.
    """
    if not isinstance(field, str) or not field:
        raise ConfigError(f"changed({field!r}): write the name of a field, such as changed('stage_id').")

    def ask(event: Event[Any], fields: FieldNames | None) -> bool:
        change = Changes(event.kind, event.changes, fields).get(field)
        if change is None:
            return False
        return (to is ANYTHING or _is(change.new, to)) and (from_ is ANYTHING or _is(change.old, from_))

    return Predicate(ask, f"changed({getattr(field, 'name', field)!r})", frozenset({field}))


def by_user(*user_ids: int) -> Predicate:
    """Ask whether one of these Pipedrive users made the change.

    @on("deal.won", when=~by_user(5521004))
    """
    if not user_ids:
        raise ConfigError("by_user(): write the ids of one or more Pipedrive users, such as by_user(5521004).")
    wanted = {str(user_id) for user_id in user_ids}
    return Predicate(lambda event, fields: str(event.actor_id) in wanted, f"by_user({', '.join(sorted(wanted))})")


def record(question: Callable[[Any], bool]) -> Predicate:
    """Ask something of the record as it is after the event.

    @on("deal.won", when=record(lambda deal: deal.value > 1000))
    """
    if not callable(question):
        raise ConfigError("record(...) takes a function of the record, such as record(lambda deal: deal.value > 1000).")
    return Predicate(lambda event, fields: bool(question(event.record)), "record(…)")


def _is(value: Any, wanted: Any) -> bool:
    """Compare as people write: an option by its label or id, a reference by its id, choices in any order."""
    if value == wanted:
        return True
    if isinstance(value, Option):
        return wanted is not None and wanted in (value.label, value.id)
    if isinstance(value, Options) and isinstance(wanted, list | tuple | set | frozenset):
        return len(value) == len(wanted) and all(any(_is(option, each) for option in value) for each in wanted)
    return isinstance(value, Ref) and value.id == wanted
