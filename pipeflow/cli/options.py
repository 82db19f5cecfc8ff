"""The options that several commands share, and the shape of listing commands. Imports typer alone."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import typer
from typer.core import TyperGroup

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
OfSandbox = Annotated[bool, typer.Option("--sandbox", help="Look into the sandbox's store.")]
Limit = Annotated[int, typer.Option(min=0, help="How many at most; 0 for all.")]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="Only newer ones: 90s, 2h, 3d or an ISO time.")]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only older ones, as for --since.")]
HandlerName = Annotated[str | None, typer.Option("--handler", metavar="NAME", help="Only of this handler or job.")]
Id = Annotated[int, typer.Argument(metavar="ID", max=2**63 - 1, show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def check_status(status: str | None, known: Any) -> None:
    """Refuse a status that nothing can have (`known`: the literal of those there are); raises ConfigError."""
    from pipeflow.errors import ConfigError

    if status is not None and status not in get_args(known):
        raise ConfigError(f"There is no status {status!r}: write {', '.join(get_args(known))}.")


class ListingGroup(TyperGroup):
    """A command that lists, and shows the one whose id follows: `runs`, `runs 12`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Take a number for the id of one to show."""
        if args[0].isdigit():
            return super().resolve_command(ctx, ["show", *args])
        if self.get_command(ctx, args[0]) is None:
            known = ", ".join(name for name in self.list_commands(ctx) if name != "show")
            ctx.fail(f"{args[0]!r} is no id, which is a number{f', nor one of {known}' if known else ''}.")
        return super().resolve_command(ctx, args)


def listing(help_text: str) -> typer.Typer:
    """Make a group whose callback lists and whose hidden `show` shows one."""
    return typer.Typer(
        cls=ListingGroup,
        help=help_text,
        invoke_without_command=True,
        subcommand_metavar="[ID]",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
