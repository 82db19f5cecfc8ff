"""Turns Pipedrive's names into Python's, into class names and into sentences. Imports the standard library alone."""

from __future__ import annotations

import re

UNCOUNTED = ("settings", "statistics", "status", "address", "access", "us")
VERBS = (
    "add", "archive", "cancel", "convert", "delete", "download", "duplicate", "find", "get", "link", "merge", "post",
    "put", "receive", "save", "search", "update", "upload",
)  # fmt: skip


def snake(name: str) -> str:
    """`getDeals` → `get_deals`, `type.params.stage_id` → `type_params_stage_id`, `channel-id` → `channel_id`."""
    name = re.sub(r"[.\-]", "_", name)
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def words_of(name: str) -> list[str]:
    """`DealFieldsApi` → `["deal", "fields", "api"]`."""
    return [word for word in snake(name).split("_") if word]


def pascal(words: list[str]) -> str:
    """`["deal", "field"]` → `DealField`."""
    return "".join(word[:1].upper() + word[1:] for word in words)


def singular(word: str) -> str:
    """`activities` → `activity`, `boxes` → `box`, `statistics` stays."""
    if word.endswith(UNCOUNTED) or not word.endswith("s") or word.endswith("ss"):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if re.search(r"(ss|x|ch|sh)es$", word):
        return word[:-2]
    return word[:-1]


def attribute_of(resource: str) -> str:
    """`DealFieldsApi` → `deal_fields`."""
    return snake(resource.removesuffix("Api"))


def singular_of(resource: str) -> list[str]:
    """`DealFieldsApi` → `["deal", "field"]`."""
    *front, last = words_of(resource.removesuffix("Api"))
    return [*front, singular(last)]


def split_method(method: str) -> tuple[str, list[str]]:
    """`getDealFollowers` → `("get", ["deal", "followers"])`."""
    verb, *rest = words_of(method)
    if verb not in VERBS:
        raise ValueError(f"{method} begins with no known verb; add it to VERBS")
    return verb, rest


def summary_of(resource: str, method: str, path: str, result: str) -> str:
    """Say what an operation does in one imperative sentence."""
    verb, words = split_method(method)
    own = singular_of(resource)
    rest = words[len(own) :] if [singular(word) for word in words[: len(own)]] == own else []
    below = bool(rest) and "{" in path
    thing, owner = " ".join(rest if below else words), a(" ".join(own))
    one = " ".join([*(rest if below else words)[:-1], singular((rest if below else words)[-1])])
    many = one != thing
    match verb:
        case "get" if result == "list":
            return f"List the {thing} of {owner}." if below else f"List {thing}."
        case "get" if path.endswith("}") and not below:
            return f"Get {a(one)}."
        case "get":
            return f"Get the {thing} of {owner}." if below else f"Get the {thing}."
        case "search":
            return f"Search {thing}."
        case "merge":
            return f"Merge {a(one)} into another."
        case "add" | "post" | "upload":
            return f"Add {thing if many else a(one)}{f' to {owner}' if below else ''}."
        case _:
            return f"{verb.capitalize()} {thing if many else a(one)}{f' of {owner}' if below else ''}."


def a(noun: str) -> str:
    """`activity` → `an activity`, `user` → `a user`."""
    return f"an {noun}" if noun.lstrip("`")[0].lower() in "aeio" else f"a {noun}"
