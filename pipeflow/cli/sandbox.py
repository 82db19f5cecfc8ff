"""`pipeflow sandbox`: the simulated Pipedrive, alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 takes a free one.")] = 8080,
    rate: Annotated[float, typer.Option(min=0, help="Changes a minute that its sales team makes.")] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Repeat the same sales team.")] = None,
    state: Annotated[Path | None, typer.Option(help="Keep the companies in this file.")] = None,
    companies: Annotated[int, typer.Option(min=1, help="How many companies there are.")] = 1,
    deals: Annotated[int, typer.Option(min=0, help="How many deals each begins with.")] = 30,
) -> None:
    """Run a simulated Pipedrive, until Ctrl-C."""
    import subprocess
    import sys

    command = [sys.executable, "-m", "pipeflow.sandbox", "--port", str(port), "--rate", str(rate)]
    command += ["--companies", str(companies), "--deals", str(deals)]
    command += ["--seed", str(seed)] if seed is not None else []
    command += ["--state", str(state)] if state is not None else []
    try:
        raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603  # our own module
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
