"""`pipeflow pause` and `pipeflow resume`: have the runs of an account, a handler or a record wait, and go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipeflow.cli.options import AsJson, OfSandbox

if TYPE_CHECKING:
    from pipeflow.store.base import Pause, RunFilter, Store

Company = Annotated[int | None, typer.Option(metavar="ID", help="The company; needed where several are connected.")]
Reason = Annotated[str, typer.Option(help="Shown beside it.")]
CompanyId = Annotated[int, typer.Argument(metavar="COMPANY", show_default=False)]
Handler = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
Kind = Annotated[str, typer.Argument(metavar="KIND", show_default=False)]
RecordId = Annotated[str, typer.Argument(metavar="ID", show_default=False)]

pause = typer.Typer(
    help="Have runs wait; without more, list what is paused.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
resume = typer.Typer(
    help="Let runs go on that `pipeflow pause` made wait.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@pause.callback()
def pauses(ctx: typer.Context, as_json: AsJson = False, of_sandbox: OfSandbox = False) -> None:
    """List what is paused, oldest first."""
    if ctx.invoked_subcommand is not None:
        return
    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import print_json, print_table
    from pipeflow.cli.rows import pause_row
    from pipeflow.cli.times import local

    async def read() -> list[Pause]:
        async with opened_store(of_sandbox) as store:
            return await store.pauses()

    found = run_async(read())
    if as_json:
        print_json(map(pause_row, found))
        return
    print_table(
        ("paused", "since", "company", "reason"),
        ((told(one), local(one.paused_at), one.company or "", one.reason) for one in found),
        empty="Nothing is paused.",
    )


@pause.command("account")
def pause_account(company: CompanyId, reason: Reason = "", of_sandbox: OfSandbox = False) -> None:
    """Have all runs of a company wait; events are stored as ever."""
    from pipeflow.store.base import Pause

    _pause(Pause("account", company=company, reason=reason), of_sandbox)


@pause.command("handler")
def pause_handler(name: Handler, reason: Reason = "", of_sandbox: OfSandbox = False) -> None:
    """Have all runs of a handler or job wait."""
    from pipeflow.store.base import Pause

    _pause(Pause("handler", handler=name, reason=reason), of_sandbox)


@pause.command("record")
def pause_record(
    kind: Kind, record_id: RecordId, company: Company = None, reason: Reason = "", of_sandbox: OfSandbox = False
) -> None:
    """Have all runs on one record wait: `pipeflow pause record deal 42`."""
    from pipeflow.store.base import Pause

    _pause(Pause("record", company=company or 0, kind=kind, record_id=record_id, reason=reason), of_sandbox)


@resume.command("account")
def resume_account(company: CompanyId, of_sandbox: OfSandbox = False) -> None:
    """Let the runs of a company go on."""
    from pipeflow.store.base import Pause

    _resume(Pause("account", company=company), of_sandbox)


@resume.command("handler")
def resume_handler(name: Handler, of_sandbox: OfSandbox = False) -> None:
    """Let the runs of a handler or job go on."""
    from pipeflow.store.base import Pause

    _resume(Pause("handler", handler=name), of_sandbox)


@resume.command("record")
def resume_record(kind: Kind, record_id: RecordId, company: Company = None, of_sandbox: OfSandbox = False) -> None:
    """Let the runs on one record go on."""
    from pipeflow.store.base import Pause

    _resume(Pause("record", company=company or 0, kind=kind, record_id=record_id), of_sandbox)


def _pause(wanted: Pause, of_sandbox: bool) -> None:
    import time
    from dataclasses import replace

    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import say

    async def work() -> tuple[Pause, bool]:
        async with opened_store(of_sandbox) as store:
            exact = await _exact(store, wanted)
            await store.pause(replace(exact, paused_at=time.time()))
            return exact, exact.what == "handler" and not await store.runs(_one_run_of(exact.handler))

    paused, is_new = run_async(work())
    say(f"{told(paused)} is paused: what arrives is stored, runs under way end, others wait for `pipeflow resume`.")
    if is_new:
        say("It has never run here; `pipeflow doctor` lists the handlers there are.")


def _one_run_of(handler: str) -> RunFilter:
    from pipeflow.store.base import RunFilter

    return RunFilter(limit=1, handler=handler, include_skipped=True)


def _resume(wanted: Pause, of_sandbox: bool) -> None:
    from pipeflow.cli.compose import opened_store, run_async
    from pipeflow.cli.output import say
    from pipeflow.errors import PipeflowError

    async def work() -> Pause:
        async with opened_store(of_sandbox) as store:
            exact = await _exact(store, wanted)
            if not await store.resume(exact):
                raise PipeflowError(f"{told(exact)} is not paused; `pipeflow pause` lists what is.")
            return exact

    say(f"{told(run_async(work()))} goes on.")


async def _exact(store: Store, wanted: Pause) -> Pause:
    """Check that the company is known, and fill in the only one where none was named."""
    from dataclasses import replace

    from pipeflow.errors import ConfigError
    from pipeflow.naming import NOUNS
    from pipeflow.store.base import EventFilter

    if wanted.what == "handler":
        return wanted
    # Pipedrive may send kinds that nobody here has heard of; then there are events of them.
    if (
        wanted.what == "record"
        and wanted.kind not in NOUNS
        and not await store.events(EventFilter(limit=1, kind=wanted.kind))
    ):
        raise ConfigError(f"There are no records of the kind {wanted.kind}: write {', '.join(NOUNS)}.")
    known = sorted({account.company for account in await store.accounts()})
    if wanted.company in known:
        return wanted
    if wanted.company == 0 and len(known) == 1:
        return replace(wanted, company=known[0])
    listed = ", ".join(map(str, known)) or "none yet"
    if wanted.company:
        raise ConfigError(f"There is no company {wanted.company} here; connected: {listed}.")
    raise ConfigError(f"Say whose record it is with --company; connected: {listed}.")


def told(pause: Pause) -> str:
    """Say what a pause pauses: `Deal 42`."""
    if pause.what == "account":
        return f"Company {pause.company}"
    if pause.what == "handler":
        return f"Handler {pause.handler}"
    return f"{pause.kind.capitalize()} {pause.record_id}"
