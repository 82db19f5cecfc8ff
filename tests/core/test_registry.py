"""What recipes may write: patterns, annotations, intervals; and what is refused at import, with file and line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeflow import Account, Client, Event, Run, changed, cron, every, on
from pipeflow.errors import ConfigError
from pipeflow.records import Deal, Person, Record
from pipeflow.registry import DEFAULT, Handler, Job, Registry, load

HEAD = "import logging\nfrom pipeflow import *\nfrom pipeflow.records import *\n\n\n"


def registered(function: Callable[..., Any]) -> Any:
    """Give what a function was registered as."""
    return DEFAULT.find(function)


def refused(tmp_path: Path, recipe: str) -> str:
    """Give what `load` says of a recipe that cannot work."""
    (tmp_path / "rules.py").write_text(HEAD + recipe)
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "rules.py")
    return str(error.value)


def registry(*patterns: str) -> Registry:
    """Make a registry with a handler for each pattern, called after it."""
    made = Registry()
    for pattern in patterns:

        def handle(event: Event[Any]) -> None: ...

        made.add(registered(on(pattern, name=pattern)(handle)))
    return made


# -- handlers and jobs -------------------------------------------------------------------------------------------------


def test_a_handler_is_given_back_untouched_and_remembered_with_all_it_said() -> None:
    @on("deal.won", "deal.lost", when=changed("status"), ordered=False, ignore_self=False, timeout=7, concurrency=2)
    async def tell(event: Event[Deal], client: Client, run: Run, account: Account, log: logging.Logger) -> None:
        """Tell the team.

        At length.
        """

    handler = registered(tell)
    assert isinstance(handler, Handler)
    assert handler.function is tell
    assert handler.patterns == ("deal.won", "deal.lost")
    assert (handler.ordered, handler.ignore_self, handler.timeout, handler.concurrency) == (False, False, 7.0, 2)
    assert handler.arguments == {
        "event": "event",
        "client": "client",
        "run": "run",
        "account": "account",
        "log": "logger",
    }
    assert (handler.record_types, handler.is_async, handler.summary) == ((Deal,), True, "Tell the team.")
    assert (Path(handler.file).name, handler.line > 0) == ("test_registry.py", True)


def test_an_event_may_be_annotated_barely_with_one_record_with_several_and_with_any() -> None:
    @on("deal.*")
    def bare(event: Event) -> None: ...  # type: ignore[type-arg]

    @on("deal.*", "person.*")
    def several(event: Event[Deal | Person]) -> None: ...

    @on("deal.*")
    def any_record(event: Event[Record]) -> None: ...

    @on("widget.*")
    def unknown_noun(event: Event[Record]) -> None: ...

    found = [registered(function).record_types for function in (bare, several, any_record, unknown_noun)]
    assert found == [(), (Deal, Person), (Record,), (Record,)]


def test_intervals_are_words_or_timedeltas_and_jobs_may_ask_for_what_handlers_may() -> None:
    def job(account: Account, event: Event[Any]) -> None: ...

    def nothing() -> None: ...

    seconds = {
        "5 minutes": 300.0,
        "1 hour": 3600.0,
        "hour": 3600.0,
        "2.5 seconds": 2.5,
        "1 day": 86400.0,
        "week": 604800.0,
    }
    for text, expected in seconds.items():
        assert registered(every(text)(job)).every == expected
    assert registered(every(timedelta(minutes=2), name="mine")(nothing)).every == 120.0
    found = registered(cron("0 8 * * MON-FRI", timezone="account", timeout=5)(job))
    assert isinstance(found, Job)
    assert (found.cron, found.timezone, found.timeout) == ("0 8 * * MON-FRI", "account", 5.0)
    assert found.arguments == {"account": "account", "event": "event"}


@pytest.mark.parametrize("part", ["0", "*/15", "5-50/10", "0,30", "59"])
@pytest.mark.parametrize("days", ["* * *", "1-7 * MON", "*/2 JAN,DEC sun-tue", "31 2-10/4 7", "1 1 6-1/2", "* * */3"])
def test_cron_expressions_that_are_accepted_are_understood_by_the_clock(part: str, days: str) -> None:
    from pipeflow.engine.duetimes import DueTimes

    def job() -> None: ...

    assert DueTimes(registered(cron(f"{part} 8-18/2 {days}")(job))).after(0.0) is not None


def test_functions_are_called_after_their_file_and_keep_a_name_through_a_move(tmp_path: Path) -> None:
    (tmp_path / "sales").mkdir()
    won = "@on('deal.won')\ndef tell(event: Event) -> None: ...\n"
    lost = "@on('deal.lost', name='mourn')\ndef x(event: Event) -> None: ...\n"
    (tmp_path / "sales" / "won.py").write_text(HEAD + won + lost)
    assert set(load(tmp_path).handlers) == {"sales.won.tell", "mourn"}


def test_a_name_that_is_taken_is_refused_with_both_places(tmp_path: Path) -> None:
    handler = "@on('deal.won', name='a')\ndef x(event: Event) -> None: ...\n"
    said = refused(tmp_path, handler + "@every('hour', name='a')\ndef y() -> None: ...\n")
    assert "the name a is taken by" in said
    assert said.count("rules.py:") == 2


# -- patterns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "names", "fits"),
    [
        ("deal.updated", ("deal.updated",), True),
        ("deal.won", ("deal.updated", "deal.won"), True),
        ("deal.updated", ("person.updated",), False),
        ("deal.*", ("deal.deleted",), True),
        ("deal", ("deal.deleted",), True),
        ("*.deleted", ("person.deleted",), True),
        ("*.deleted", ("person.added",), False),
        ("*", ("widget.exploded",), True),
        ("deal.*", ("deal_product.added",), False),
        ("widget.added", ("widget.added",), True),
    ],
)
def test_patterns_fit_names(pattern: str, names: tuple[str, ...], fits: bool) -> None:
    made = registry(pattern)
    assert [handler.name for handler in made.matching(names)] == ([pattern] if fits else [])
    assert made.handlers[pattern].matches(names) == fits


def test_a_handler_matches_once_however_many_of_its_patterns_fit() -> None:
    @on("deal.*", "*.updated", "deal.won", name="many")
    def hear(event: Event[Any]) -> None: ...

    made = Registry()
    made.add(registered(hear))
    assert len(made.matching(("deal.updated", "deal.won"))) == 1


def test_needs_are_the_deliveries_that_derived_names_come_from() -> None:
    assert registry("deal.updated").needs() == {("updated", "deal")}
    assert registry("deal.won").needs() == {("added", "deal"), ("updated", "deal")}
    assert registry("deal.stage_changed").needs() == {("updated", "deal")}
    assert registry("person.merged").needs() == {("updated", "person"), ("deleted", "person")}
    assert registry("lead.converted").needs() == {("added", "deal"), ("deleted", "lead")}
    assert registry("deal.*", "*.deleted", "*").needs() == {("*", "deal"), ("deleted", "*"), ("*", "*")}


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("deal.exploded", "nothing is called 'deal.exploded'"),
        ("deal.udpated", "did you mean deal.updated"),
        ("dael.updated", "did you mean deal.updated"),
        ("*.exploded", "nothing is called"),
        ("deal.create", "nothing is called"),
        ("deal updated", "no pattern"),
        ("deal.updated.twice", "no pattern"),
        ("", "no pattern"),
    ],
)
def test_patterns_that_nothing_is_called_are_refused_with_what_was_meant(
    tmp_path: Path, pattern: str, hint: str
) -> None:
    said = refused(tmp_path, f"@on({pattern!r})\ndef hear(event: Event) -> None: ...\n")
    assert hint in said
    assert "rules.py:6: hear" in said


# -- annotations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signature", "hint"),
    [
        ("(event) -> None", "parameter 'event' has no annotation"),
        ("(event: Event, count: int) -> None", "parameter 'count' asks for <class 'int'>, which nobody gives"),
        ("(*events: Event) -> None", "*events is given nothing"),
        ("(event: 'Evnt') -> None", "name 'Evnt' is not defined; import what"),
        ("(event: Event[Person]) -> None", "deal.updated never carries a Person; annotate the event as Event[Deal]"),
        ("(event: Event[Deal | Person]) -> None", "never carries a Person"),
        ("(event: Event, client: Client) -> None", "must be awaited: write `async def`"),
    ],
)
def test_annotations_that_nobody_can_serve_are_refused_with_what_may_stand_there(
    tmp_path: Path, signature: str, hint: str
) -> None:
    said = refused(tmp_path, f"@on('deal.updated')\ndef hear{signature}: ...\n")
    assert hint in said
    assert "rules.py:6: hear" in said


@pytest.mark.parametrize(
    ("decorator", "hint"),
    [
        ("@on()", "@on needs a pattern"),
        ("@on('deal.won', when='stage_id')", "when= takes a predicate"),
        ("@on('deal.won', when=lambda event: True)", "when= takes a predicate"),
        ("@on", "@on needs a pattern"),
        ("@every", "@every needs an interval"),
        ("@cron", "@cron needs an expression"),
        ("@on('deal.won', concurrency=0)", "concurrency=0 lets nothing run"),
        ("@on('deal.won', timeout=0)", "timeout=0 is no time"),
        ("@on('deal.won', timeout='5')", "timeout='5' is no time"),
        ("@every('hour', timeout=-1)", "timeout=-1 is no time"),
        ("@every('soon')", "no interval; write '5 minutes'"),
        ("@every('0 seconds')", "at least a second"),
        ("@cron('0 8 * *')", "no cron expression; write five fields"),
        ("@cron('99 8 * * *')", "no cron expression"),
        ("@cron('0 8 * * MONDAY')", "'MONDAY' is no weekday: write *, 0-7, SUN-SAT, a range"),
        ("@cron('0 8 * JAN-3 *')", "'JAN-3' is no month"),
        ("@cron('0 18-8 * * *')", "'18-8' is no hour"),
        ("@cron('50/20 8 * * *')", "'50/20' is no minute"),
        ("@cron('0 8 */0 * *')", "is no day of the month"),
        ("@cron('0 8 * * *', timezone='Europe/Talinn')", "no time zone; write an IANA name"),
    ],
)
def test_decorators_that_cannot_work_are_refused_at_import(tmp_path: Path, decorator: str, hint: str) -> None:
    said = refused(tmp_path, f"{decorator}\ndef work(event: Event) -> None: ...\n")
    assert hint in said
    assert "rules.py:6: work" in said


@pytest.mark.parametrize("decorator", ["@on('deal.won')", "@every('hour')", "@cron('0 8 * * *')"])
@pytest.mark.parametrize(
    ("work", "hint"),
    [
        ("class work:\n    pass\n", "only a plain function"),
        ("def work(event: Event):\n    yield\n", "has a `yield`"),
        ("async def work(event: Event):\n    yield\n", "has a `yield`"),
    ],
)
def test_what_would_be_called_without_doing_its_work_is_refused_at_import(
    tmp_path: Path, decorator: str, work: str, hint: str
) -> None:
    said = refused(tmp_path, f"{decorator}\n{work}")
    assert hint in said
    assert "rules" in said
    assert "work" in said
