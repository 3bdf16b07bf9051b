"""What can be built: architectures, search spaces, and their workloads.

Importing this package loads neither torch nor onnx.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from search_spaces._registry import create, names
from search_spaces._types import (
    Architecture,
    ChainedSpace,
    Choice,
    CollapsingSpace,
    SearchSpace,
    Shape,
    Stage,
    StagedSpace,
    Workload,
)
from search_spaces.workload_costs import (
    bytes_moved,
    macs,
    n_params,
    peak_activation_bytes,
    total_bytes_moved,
    total_macs,
    total_params,
)

if TYPE_CHECKING:
    from search_spaces.onnx_workloads import UnknownOperatorError, workloads_from_onnx

__all__ = [
    "create",
    "names",
    "Architecture",
    "ChainedSpace",
    "Choice",
    "CollapsingSpace",
    "SearchSpace",
    "Shape",
    "Stage",
    "StagedSpace",
    "Workload",
    "bytes_moved",
    "macs",
    "n_params",
    "peak_activation_bytes",
    "total_bytes_moved",
    "total_macs",
    "total_params",
    "UnknownOperatorError",
    "workloads_from_onnx",
]


def __getattr__(name: str) -> Any:
    if name in ("UnknownOperatorError", "workloads_from_onnx"):
        return getattr(import_module("search_spaces.onnx_workloads"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
