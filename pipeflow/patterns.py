"""Patterns of names: which events they fit, which deliveries they need, what is wrong with one. Imports naming."""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from typing import Any

from pipeflow.errors import ConfigError
from pipeflow.naming import ACCOUNT, ACCOUNT_VERBS, NOUNS, known_names

_PATTERN = re.compile(r"(\*|[A-Za-z_]+)(?:\.(\*|[a-z_]+))?")


@lru_cache(maxsize=4096)
def fits(pattern: str, name: str) -> bool:
    """Say whether a pattern fits a name."""
    if pattern == "*":
        return True
    wanted_noun, _, wanted_verb = pattern.partition(".")
    noun, _, verb = name.partition(".")
    return wanted_noun in ("*", noun) and (wanted_verb in ("", "*") or wanted_verb == verb)


def needs_of(pattern: str) -> list[tuple[str, str]]:
    """Say which deliveries a pattern needs, as (action, noun) in our words; `*` stands for all."""
    noun, _, verb = pattern.partition(".")
    if noun == ACCOUNT or verb in ACCOUNT_VERBS:
        return []
    if verb in ("added", "updated", "deleted", "*", ""):
        return [(verb or "*", noun)]
    if verb in ("won", "lost", "completed"):
        return [("added", noun), ("updated", noun)]
    if verb == "converted":
        return [("added", "deal"), ("deleted", "lead")]
    if verb == "merged":
        return [("updated", noun), ("deleted", noun)]
    return [("updated", noun)]


def check_pattern(pattern: Any, where: str) -> None:
    """Refuse what is no pattern, and what nothing is called; raises ConfigError, saying what may be meant."""
    matched = _PATTERN.fullmatch(pattern) if isinstance(pattern, str) else None
    if matched is None:
        raise ConfigError(f"{where}: {pattern!r} is no pattern; write noun.verb, such as 'deal.updated' or 'deal.*'.")
    near = _meant(*matched.groups())
    if near is None:
        return
    meant = (
        f"did you mean {' or '.join(near)}?" if near else "events end in .added, .updated, .deleted or a derived verb."
    )
    raise ConfigError(f"{where}: nothing is called {pattern!r}; {meant}")


def _meant(noun: str, verb: str | None) -> list[str] | None:
    """Give what may be meant instead; None where the pattern is right, or of a noun that is not ours to know."""
    if noun not in ("*", ACCOUNT, *NOUNS):
        near = difflib.get_close_matches(noun, NOUNS, 1, 0.7)
        return [f"{near[0]}.{verb}" if verb else near[0]] if near else None
    if verb in (None, "*"):
        return None
    known = known_names()
    if noun == "*":
        verbs = {name.partition(".")[2] for name in known}
        return None if verb in verbs else [f"*.{close}" for close in difflib.get_close_matches(str(verb), verbs, 1)]
    pattern = f"{noun}.{verb}"
    return None if pattern in known else difflib.get_close_matches(pattern, known, 3)
