"""What pydantic says of a wrong experiment file, in one line that a user can act on."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_WANTED = {
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "dict_type": "keys and values",
    "tuple_type": "a list",
    "list_type": "a list",
    "json_invalid": "text that is valid Unicode",
}


def one_line(error: ValidationError, document: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Return the first error as ``key: what was wanted, what came, what to do``.

    Args:
        error: Of validating ``document``.
        document: As parsed from the file.
        model: What it was validated against.
    """
    errors = error.errors(include_url=False)
    where = _key(errors[0], document)
    # members of a union, and the list around a wrong item, complain of the same entry
    keys = {_key(e, document) for e in errors}
    elsewhere = [key for key in keys if key and not f"{where}.".startswith(f"{key}.")]
    more = f" ({len(elsewhere)} more)" if elsewhere else ""
    return f"{where or 'document'}: {_explain(errors[0], model)}{more}"


def _key(error: Any, document: Mapping[str, Any]) -> str:
    """Return where in the file an error is; a union's location also holds its member's tag."""
    keys: list[str] = []
    node: Any = document
    for part in error["loc"]:
        in_list = isinstance(node, list) and isinstance(part, int) and part < len(node)
        if in_list or (isinstance(node, Mapping) and part in node):
            node = node[part]
            keys.append(str(part))
    if error["type"] == "missing":
        keys.append(str(error["loc"][-1]))
    elif error["type"].startswith("union_tag"):
        keys.append("kind")
    return ".".join(keys)


def _explain(error: Any, model: type[BaseModel]) -> str:
    kind, message, context = error["type"], error["msg"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key.{_suggestion(error['loc'], model)}"
    if kind in ("missing", "union_tag_not_found"):
        return "missing; it has no default"
    if kind == "value_error":
        return str(message).removeprefix("Value error, ")
    if kind == "union_tag_invalid":
        allowed = [tag.strip("'") for tag in context["expected_tags"].split(", ")]
        suggestion = did_you_mean(context["tag"], allowed)
        return f"unknown {context['tag']!r}.{suggestion} Known: {', '.join(allowed)}."
    if kind == "string_pattern_mismatch":
        message = f"text that matches {context['pattern']}"
    wanted = _WANTED.get(kind) or re.sub(r"^\w+ should (be |have )?", "", message)
    shown = json.dumps(error["input"], default=str)
    if len(shown) > 80:
        shown = f"{shown[:77]}..."
    return f"wanted {wanted}. Got {shown}."


def _suggestion(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    allowed = _fields_at(model, location[:-1])
    fallback = f" Allowed: {', '.join(sorted(allowed))}." if allowed else ""
    return did_you_mean(str(location[-1]), allowed) or fallback


def did_you_mean(word: str, allowed: Sequence[str]) -> str:
    """Return the most similar of allowed words as a question, or nothing."""
    close = difflib.get_close_matches(word, allowed, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _fields_at(model: Any, location: Sequence[int | str]) -> list[str]:
    """Return the field names of the section at ``location``; union tags pick a member."""
    if not location:
        if hasattr(model, "model_fields"):
            return list(model.model_fields)
        return [name for member in get_args(model) for name in _fields_at(member, ())]
    head, *rest = location
    if hasattr(model, "model_fields"):
        field = model.model_fields.get(head)
        return _fields_at(field.annotation, rest) if field else []
    for member in get_args(model):
        kind = getattr(member, "model_fields", {}).get("kind")
        if kind is not None and head in get_args(kind.annotation):
            return _fields_at(member, rest)
        if (found := _fields_at(member, location)) and hasattr(member, "model_fields"):
            return found
    return []
