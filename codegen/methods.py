"""Writes one operation as a method: signature, docstring and the one line of data that is its body."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from codegen.naming import method_of
from codegen.plan import Answered, Plan
from codegen.render import WIDTH, Hints, answer_type, argument_name, laid_out, parameter_type, quoted
from codegen.shapes import Listing, Shape
from codegen.wording import singular, snake, words_of
from pipeflow import catalog
from pipeflow.catalog import Operation, Parameter

CUSTOM_FIELDS = Parameter("custom_fields", "custom_fields", "json", False, "map", schema={"type": "map"})
MOMENTS = {"datetime": "an aware datetime, or UTC as text: `2026-03-05 08:09:10`."}


@dataclass
class Method:
    """One method, as text and as what the reference pages show of it."""

    name: str
    operation: Operation
    signature: str
    text: str
    returns: str


def method(plan: Plan, answered: Answered, hints: Hints) -> Method:
    """Write the method of one operation; `hints` are those of its module."""
    operation = answered.operation
    returns = returned(plan, answered)
    head = "def" if is_page(operation) else "async def"
    name = snake(method_of(operation))
    promised = f"Page[{returns}]" if is_page(operation) else "bytes | Path" if returns == "bytes" else returns
    tail = f") -> {promised}:"
    parts = _arguments(plan, answered, hints)
    signature = laid_out(f"{head} {name}(", ["self", *parts], tail, 0)
    text = f"{signature}\n{textwrap.indent(_docstring(answered), '    ')}\n{_body(answered, returns)}"
    if operation.result == "bytes":
        text = f"{_streaming(head, name, parts)}{text}"
    return Method(name, operation, signature, textwrap.indent(text, "    "), returns)


def is_page(operation: Operation) -> bool:
    """Whether the method gives a page: awaitable for one, iterable for all."""
    return operation.method == "GET" and operation.result in ("list", "items")


def carries_file(operation: Operation) -> bool:
    """Whether a file travels, out or in."""
    return operation.result == "bytes" or any(each.place == "file" for each in operation.parameters)


def shown(plan: Plan, name: str, retired: bool) -> str:
    """Write the name of a record as a resource's module refers to it."""
    model = plan.model(name, retired)
    visible = name if name in model.aliases else model.name
    return f"models.retired.{visible}" if model.module == "retired" else f"models.{visible}"


def returned(plan: Plan, answered: Answered) -> str:
    """Write the type of what a call gives; of a page, the type of one element."""
    operation = answered.operation
    if operation.result == "bytes":
        return "bytes"
    shape: Shape = answered.answer
    if operation.result == "list" and not is_page(operation):
        shape = Listing(shape)
    return answer_type(shape, lambda name: shown(plan, name, answered.retired))


def all_parameters(operation: Operation) -> list[Parameter]:
    """List the parameters, what must be given first, with `custom_fields` also where they travel flat."""
    parameters = sorted(operation.parameters, key=lambda each: (each.place != "path", not each.required))
    return [*parameters, CUSTOM_FIELDS] if operation.custom_fields == "flat" else parameters


def _arguments(plan: Plan, answered: Answered, hints: Hints) -> list[str]:
    operation = answered.operation
    positional: list[str] = []
    named: list[str] = []
    for parameter in all_parameters(operation):
        shape = answered.parameters.get(parameter.wire)
        type = parameter_type(parameter, shape, lambda name: shown(plan, name, answered.retired))
        type = hints.short(parameter.wire, type)
        text = f"{argument_name(parameter.wire)}: {type}{'' if parameter.required else ' = UNSET'}"
        (positional if parameter.place == "path" else named).append(text)
    if carries_file(operation):
        named.append("progress: Progress | None = None")
    if operation.result == "bytes":
        named.append("to: Path | str | None = None")
    return [*positional, "*", *named] if named else positional


def _streaming(head: str, name: str, parts: list[str]) -> str:
    front = ["self", *parts[:-1]]
    written = f"{head} {name}({', '.join([*front, 'to: Path | str'])}) -> Path: ..."
    read = f"{head} {name}({', '.join([*front, 'to: None = None'])}) -> bytes: ..."
    return f"@overload\n{read}\n\n@overload\n{written}\n\n"


def _body(answered: Answered, returns: str) -> str:
    operation = answered.operation
    pairs = [f"{quoted(each.wire)}: {argument_name(each.wire)}" for each in all_parameters(operation)]
    if operation.result == "bytes":
        pairs.append('"to": to')
    if carries_file(operation):
        pairs.append('"progress": progress')
    head = _door(operation)
    handed = [quoted(operation.id), *([] if operation.result == "bytes" else [returns])]
    whole = f"    {head}{', '.join(handed)}, {{{', '.join(pairs)}}})"
    if len(whole) + 4 <= WIDTH:
        return whole
    data = ", ".join(pairs)
    if len(inner := f"        {', '.join(handed)}, {{{data}}}") + 4 <= WIDTH:
        return f"    {head}\n{inner}\n    )"
    written = f"        {{{data}}},"
    if len(written) + 4 > WIDTH:
        written = "        {\n" + "".join(f"            {pair},\n" for pair in pairs) + "        },"
    return f"    {head}\n{''.join(f'        {each},{chr(10)}' for each in handed)}{written}\n    )"


def _door(operation: Operation) -> str:
    """Write the call of the door in `resource.py` that the operation goes through."""
    if is_page(operation):
        return "return self._page("
    if operation.result == "bytes":
        return "return await self._download("
    return "await self._send(" if operation.result == "none" else "return await self._send("


# -- words -------------------------------------------------------------------------------------------------------------


def facts(operation: Operation) -> str:
    """Say verb, path, cost and scopes: `GET /api/v2/deals/{id}`, 1 token."""
    cost = "no tokens" if not operation.cost else "1 token" if operation.cost == 1 else f"{operation.cost} tokens"
    scopes = " or ".join(f"`{scope}`" for scope in operation.scopes)
    return f"`{operation.method} {operation.path}`, {cost}. Scope: {scopes}."


def fate(operation: Operation) -> str | None:
    """Say what became of a retired, deprecated or doubled operation."""
    if operation.alias_of:
        other = catalog.operation(operation.alias_of)
        return f"The same as `client.{other.attribute}`."
    if operation.retired:
        other = catalog.operation(operation.retired)
        return f"Retired: use `client.{other.attribute}` (`{other.method} {other.path}`)."
    if operation.retired == "":
        return "Retired, without a replacement."
    return "Deprecated by Pipedrive." if operation.deprecated else None


def described(operation: Operation) -> list[tuple[str, str]]:
    """List the arguments that need words, with them."""
    arguments = [
        (argument_name(each.wire), words)
        for each in all_parameters(operation)
        if (words := _words(operation, each)) is not None
    ]
    if carries_file(operation):
        arguments.append(("progress", "called with the bytes so far and, where known, in all."))
    if operation.result == "bytes":
        arguments.append(("to", "a path to stream to; without it the content is returned."))
    return arguments


def _docstring(answered: Answered) -> str:
    operation = answered.operation
    blocks = [operation.summary]
    if became := fate(operation):
        blocks.append(_wrapped(became))
    blocks.append(_wrapped(facts(operation)))
    arguments = [_item(*each) for each in described(operation)]
    if arguments:
        blocks.append("Args:\n" + "\n".join(arguments))
    blocks.append("Raises:\n" + "\n".join(_item(*each) for each in _raises(operation)))
    return '"""' + "\n\n".join(blocks) + '\n"""'


def _words(operation: Operation, parameter: Parameter) -> str | None:
    """Give what a caller has to know of an argument beyond its name and type, if there is anything."""
    schema = parameter.schema
    if parameter is CUSTOM_FIELDS or (parameter.wire == "custom_fields" and parameter.place == "json"):
        return "values by the field's name or key."
    if parameter.wire == "custom_fields":
        return f"the keys of the custom fields to answer with, at most {schema['maxItems']}."
    if operation.array_body and parameter.wire == "items":
        return "the elements; the body is this bare list."
    if parameter.wire == "limit" and operation.paging != "none":
        highest = f", at most {schema['maximum']}" if "maximum" in schema else ""
        return f"elements a page{highest}; a loop over all pages takes the most."
    if parameter.wire in ("cursor", "start") and operation.paging != "none":
        return "where to begin; a loop goes on by itself."
    if parameter.place == "file":
        return "a path, bytes, or `(name, bytes or binary file[, content type])`."
    limits = _limits(parameter)
    return f"{'; '.join(limits)}." if limits else MOMENTS.get(parameter.format or "")


def _limits(parameter: Parameter) -> list[str]:
    schema, words = parameter.schema, []
    if "maxItems" in schema:
        words.append(f"at most {schema['maxItems']}")
    if schema.get("minLength", 0) > 1:
        words.append(f"at least {schema['minLength']} characters")
    if "maxLength" in schema:
        words.append(f"at most {schema['maxLength']} characters")
    if "maximum" in schema:
        words.append(f"at most {schema['maximum']}")
    if "default" in schema and schema["default"] not in ("", None):
        words.append(f"{quoted(schema['default'])} if left out")
    return words


def _raises(operation: Operation) -> list[tuple[str, str]]:
    lines = []
    if "{" in operation.path:
        lines.append(("NotFound", f"no {' '.join(_owner(operation))} has this id, or the user may not see it."))
    if operation.body:
        lines.append(("BadRequest", "Pipedrive refuses a value."))
    lines.append(("ClientError", "the call failed in another way; see `pipeflow.errors`."))
    return lines


def _owner(operation: Operation) -> list[str]:
    """Name what the first id in the path is the id of: `/deals/{id}/followers` → deal."""
    collection = operation.path.split("/{")[0].rsplit("/", 1)[1]
    *front, last = words_of(collection)
    return [*front, singular(last)]


def _item(name: str, words: str) -> str:
    return textwrap.fill(f"{name}: {words}", 104, initial_indent="    ", subsequent_indent="        ")


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 108, break_long_words=False, break_on_hyphens=False)
