"""YAML files that users write: read safely, checked against a schema, every error in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from hwnas.config_errors import one_line
from hwnas.errors import UserError

_Model = TypeVar("_Model", bound=BaseModel)


def read_document(path: Path) -> dict[str, Any]:
    """Return the keys and values of a YAML file; none of an empty one.

    Args:
        path: YAML file.

    Raises:
        UserError: If it cannot be read, is not valid YAML, or holds no keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({_reason(error)})") from None
    document = parse_yaml(text, str(path))
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UserError(
            f"{path}: wanted keys and values such as 'name: my-search'. "
            f"Got {type(document).__name__}."
        )
    return document


def validated(document: Mapping[str, Any], source: str, model: type[_Model]) -> _Model:
    """Check a document against a schema.

    Args:
        document: Parsed YAML.
        source: What error messages call it, usually its path.
        model: The schema.

    Raises:
        UserError: One line naming source, key, what was wanted and what came.
    """
    try:
        # JSON mode: strict about types (no True for 1, no "60" for 60), lists become tuples
        text = json.dumps(document, default=str)
        return model.model_validate_json(text, strict=True)
    except (TypeError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise UserError(f"{source}: {one_line(error, document, model)}") from None
        raise UserError(f"{source}: {_reason(error)}") from None
    except RecursionError:
        raise UserError(f"{source}: nested too deeply") from None


def parse_yaml(text: str, source: str) -> Any:
    """Return what YAML text says.

    Args:
        text: One document without aliases; of tags only those of plain data are known.
        source: What error messages call it.

    Raises:
        UserError: If it is not valid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        parts = [getattr(error, name, None) for name in ("context", "problem", "reason")]
        problem = ", ".join(part for part in parts if part)
        raise UserError(f"{source}{where}: not valid YAML ({problem})") from None
    except RecursionError:
        raise UserError(f"{source}: nested too deeply") from None
    except (LookupError, AttributeError):
        # how PyYAML meets !!int "" and the like
        raise UserError(f"{source}: not valid YAML (a value does not fit its tag)") from None
    except ValueError as error:
        raise UserError(f"{source}: not valid YAML ({_reason(error)})") from None


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number, and refuses aliases and a key written twice."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        # few of them make a document of gigabytes, or one that holds itself
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None,
                None,
                f"aliases such as *{event.anchor} are not read: repeat what it names",
                event.start_mark,
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"keys must be text. Got {key!r}.", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
