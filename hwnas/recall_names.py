"""What the recall of one class is called among metrics."""

from __future__ import annotations

_BEFORE, _AFTER = "recall(", ")"


def recall_name(class_name: str) -> str:
    """Return the name of a class' recall."""
    return f"{_BEFORE}{class_name}{_AFTER}"


def class_of(name: str) -> str | None:
    """Return the class whose recall a metric of this name is; ``None`` for other metrics."""
    if not name.startswith(_BEFORE):
        return None
    return name.removeprefix(_BEFORE).removesuffix(_AFTER)
