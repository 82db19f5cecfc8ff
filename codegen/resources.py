"""What the generator knows of a resource and of a record when it writes them. Imports methods, plan and render."""

from __future__ import annotations

import re
from dataclasses import dataclass

from codegen.methods import Method
from codegen.plan import Model
from codegen.render import Hints
from codegen.wording import a, attribute_of


@dataclass
class Resource:
    """One resource of one generation: its methods, and which of them only version 1 has to offer."""

    name: str
    methods: list[Method]
    kept: list[Method]
    hints: Hints

    @property
    def attribute(self) -> str:
        """`DealsApi` → `deals`."""
        return attribute_of(self.name)

    @property
    def title(self) -> str:
        """`DealFieldsApi` → `Deal fields`."""
        return self.attribute.replace("_", " ").capitalize()

    @property
    def split(self) -> bool:
        """Whether what is kept is a class of its own."""
        return bool(self.kept) and len(self.kept) < len(self.methods)

    @property
    def kept_name(self) -> str:
        """The class that holds what is kept: `DealsKept`, or the whole `NotesApi`."""
        return self.name.removesuffix("Api") + "Kept" if self.split else self.name


def record_docstring(model: Model) -> str:
    """Say what a record is and which methods give it."""
    if not model.givers:
        (record, wire), *others = model.origins
        like = f", and {len(others)} field{'s' if len(others) > 1 else ''} like it" if others else ""
        return f"The `{wire}` of {a(f'`{record}`')}{like}."
    best = min(model.givers, key=lambda giver: (".get_" not in giver, len(giver), giver)).partition(".")[2]
    others_give = len(model.givers) - 1
    words = " ".join(re.findall("[A-Z][a-z]*", model.name)).lower()
    words = words if words.endswith("s") and not words.endswith("us") else a(words)
    return f"{words.capitalize()}: what `{best}` {f'and {others_give} more give' if others_give else 'gives'}."
