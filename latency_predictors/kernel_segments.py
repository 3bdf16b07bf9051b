"""Which kernels of a compiled network belong to which of its workloads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from search_spaces import Shape, Stage, Workload

Role: TypeAlias = Literal["input", "compute", "output"]

# a compiler starts one kernel at each of these; what is element-wise joins the one before it
_ANCHORS = {
    "conv2d": "conv2d",
    "depthwise_conv2d": "conv2d",
    "linear": "matmul",
    "global_avg_pool": "mean",
}
_JOINING = ("add", "scale", "copy")
_ANCHOR = re.compile(rf"(?<![a-z])({'|'.join(sorted(set(_ANCHORS.values())))})(?![a-z])")


@dataclass(frozen=True)
class Segment:
    """The part of a network that becomes one kernel, or a few.

    Args:
        role: ``compute``, or the ``input`` or ``output`` of a network, which may have to be
            brought into another layout.
        workloads: One that needs a kernel and the element-wise ones that join it; a copy for
            inputs and outputs.
    """

    role: Role
    workloads: tuple[Workload, ...]


def segments(stage: Stage) -> tuple[Segment, ...]:
    """Cut a stage into segments, in execution order, its input first and its output last.

    Raises:
        LookupError: For an operator of which it is not known what kernel it becomes.
    """
    found: list[list[Workload]] = []
    for workload in stage.workloads:
        if workload.op in _ANCHORS:
            found.append([workload])
        elif workload.op in _JOINING and found:
            found[-1].append(workload)
        else:
            raise LookupError(f"it is not known which kernel operator {workload.op!r} becomes")
    compute = [Segment("compute", tuple(workloads)) for workloads in found]
    outputs = [] if stage.output_shape is None else [_layout("output", stage.output_shape)]
    return (_layout("input", stage.input_shape), *compute, *outputs)


def kernels_by_segment(stage: Stage, kernels: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Return, per segment of a stage, which of its kernels the segment becomes.

    Kernels in front of the first that computes anything belong to the input; those that
    change the layout after the last one, to the output.

    Args:
        stage: What was compiled.
        kernels: Names of the kernels in execution order: operators joined by underscores,
            then a hash.

    Returns:
        Indices into ``kernels``, for each of `segments`; each index occurs once.

    Raises:
        ValueError: If workloads and kernels do not match.
    """
    parts = segments(stage)
    wanted = [
        (i, _ANCHORS[part.workloads[0].op])
        for i, part in enumerate(parts)
        if part.role == "compute"
    ]
    anchors = [_anchor(name) for name in kernels]
    if [anchor for anchor in anchors if anchor] != [anchor for _, anchor in wanted]:
        raise ValueError(
            f"workloads need the kernels {[anchor for _, anchor in wanted]}, "
            f"the network has {[anchor for anchor in anchors if anchor]}"
        )
    owners = iter(wanted)
    members: list[list[int]] = [[] for _ in parts]
    owner, n_left = 0, len(wanted)
    for index, (name, anchor) in enumerate(zip(kernels, anchors, strict=True)):
        if anchor:
            owner, n_left = next(owners)[0], n_left - 1
        if n_left == 0 and name.startswith("transpose_") and parts[-1].role == "output":
            members[-1].append(index)
        else:
            members[owner].append(index)
    return tuple(tuple(indices) for indices in members)


def _layout(role: Role, shape: Shape) -> Segment:
    return Segment(role, (Workload("copy", shape, shape),))


def _anchor(kernel: str) -> str:
    found = _ANCHOR.search(kernel.rpartition("_")[0])
    return found.group(1) if found else ""
