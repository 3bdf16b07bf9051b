"""From a target's name to a `Target`; backends are imported when first used."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from targets.spec import TargetSpec, load_spec

if TYPE_CHECKING:
    from targets._types import Target

ENTRY_POINT_GROUP = "hwnas.target_backends"

_BUILT_IN = {
    "tvm": "targets.tvm_target:TvmTarget",
    "onnxruntime": "targets.onnxruntime_target:OnnxRuntimeTarget",
    "replay": "targets.replay_target:ReplayTarget",
}


def create(target: str | Path | TargetSpec, cache_dir: Path | None = None) -> Target:
    """Make a target; nothing is started before its first use.

    Args:
        target: A packaged target, the path of a YAML file, or a description.
        cache_dir: Where artifacts and measurements are kept; by default
            ``$HWNAS_CACHE``, else ``hwnas`` in the user's cache folder.

    Raises:
        ValueError: If there is no such target, or its description or backend is wrong.
    """
    spec = target if isinstance(target, TargetSpec) else load_spec(target)
    backend = _backend(spec.backend)
    if backend is None:
        raise ValueError(
            f"target {spec.name!r}: backend: unknown {spec.backend!r}. "
            f"Known: {', '.join(backend_names())}. "
            f"A plug-in registers its own in the entry-point group {ENTRY_POINT_GROUP!r}."
        )
    made: Target = backend(spec, cache_dir=cache_dir)
    return made


def backend_names() -> tuple[str, ...]:
    """Return the names of all registered backends."""
    plugged = {entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)}
    return tuple(sorted(plugged | set(_BUILT_IN)))


def _backend(name: str) -> Any:
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name].split(":")
        return getattr(import_module(module), attribute)
    for entry in entry_points(group=ENTRY_POINT_GROUP, name=name):
        return entry.load()
    return None
