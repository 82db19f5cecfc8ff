"""The command line. `main` is what `pipeflow` and `python -m pipeflow` call; errors become sentences and exit codes."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line: exit 0 when it worked, 2 for a ConfigError or wrong usage, 1 for any other trouble."""
    from pipeflow.cli.app import app
    from pipeflow.errors import ConfigError, PipeflowError

    try:
        app()
    except PipeflowError as error:
        sys.stderr.write(f"pipeflow: {error}\n")
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        sys.stderr.write(
            f"pipeflow: {error.filename}: {error.strerror}. Check the path, and what this user may do there.\n"
        )
        sys.exit(1)
