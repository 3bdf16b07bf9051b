"""Rule-based schedules for fused channels-last kernels: no tuning, milliseconds per network.

One rule serves everything that reduces (convolutions, matrix products, pooling):
a tile of pixels x channels is accumulated in vector registers over the whole
reduction, then the fused epilogue (bias, activation, residual) is applied to the
tile before it is stored. Everything else is inlined and vectorized.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm import IRModule, s_tir, tirx
from tvm.s_tir import Schedule

Block: TypeAlias = Any
Loop: TypeAlias = Any

_log = logging.getLogger(__name__)

_REDUCTION = 2  # tirx.IterVar.CommReduce


@dataclass(frozen=True)
class Tiling:
    """Size of a register tile.

    Args:
        vector_lanes: float32 values in one vector register.
        accumulators: Vector registers that may hold partial sums.
        channel_vectors: Most vectors of channels side by side in a tile.
    """

    vector_lanes: int
    accumulators: int
    channel_vectors: int = 2


@dataclass(frozen=True)
class Scheduled:
    """A module after scheduling.

    Args:
        module: With the same functions.
        unscheduled: Names of kernels left as they came: correct, but slow.
    """

    module: IRModule
    unscheduled: tuple[str, ...]


def schedule_module(module: IRModule, tiling: Tiling) -> Scheduled:
    """Schedule every kernel; one that no rule fits stays as it is and is reported."""
    functions, unscheduled = {}, []
    for variable, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc):
            try:
                function = schedule_kernel(function, tiling)
            except (s_tir.ScheduleError, NoRuleError) as error:
                unscheduled.append(variable.name_hint)
                _log.info("%s is not scheduled: %s", variable.name_hint, str(error).strip()[-300:])
        functions[variable] = function
    if unscheduled:
        _log.warning("%d kernels are not scheduled: %s", len(unscheduled), unscheduled)
    return Scheduled(IRModule(functions, attrs=module.attrs), tuple(unscheduled))


class NoRuleError(ValueError):
    """No rule fits a kernel."""


def schedule_kernel(function: tirx.PrimFunc, tiling: Tiling) -> tirx.PrimFunc:
    """Schedule one fused kernel.

    Raises:
        NoRuleError: If it holds more than one reduction.
        tvm.s_tir.ScheduleError: If TVM refuses a transformation.
    """
    schedule = Schedule(IRModule({"main": function}))
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    reductions = [i for i, block in enumerate(blocks) if _reduces(schedule, block)]
    if not reductions:
        _schedule_elementwise(schedule, blocks, tiling)
    elif len(reductions) == 1:
        at = reductions[0]
        _schedule_reduction(schedule, blocks[:at], blocks[at], blocks[at + 1 :], tiling)
    else:
        raise NoRuleError(f"{len(reductions)} reductions in one kernel")
    attributes = dict(function.attrs) if function.attrs else {}
    return schedule.mod["main"].with_attrs(attributes).with_attr("s_tir.is_scheduled", True)


def _schedule_elementwise(schedule: Schedule, blocks: list[Block], tiling: Tiling) -> None:
    """Inline everything into the last block and vectorize its innermost axis."""
    for block in blocks[:-1]:
        schedule.compute_inline(block)
    if blocks:
        _vectorize_innermost(schedule, blocks[-1], tiling)


def _schedule_reduction(
    schedule: Schedule, before: list[Block], block: Block, after: list[Block], tiling: Tiling
) -> None:
    """Tile a reduction in registers; inline what feeds it, fuse what follows it."""
    padded = _schedule_producers(schedule, before, tiling)
    epilogue = _merge_epilogue(schedule, after)
    spatial, reduced = _split_by_kind(schedule, block)
    if len(spatial) < 2:
        raise NoRuleError(f"reduction with {len(spatial)} spatial axes")
    row = _extent(schedule, spatial[-2])
    *outer, pixels, channels = spatial
    if _is_pointwise(schedule, reduced, padded) and len(outer) == 2:
        outer, pixels = [], schedule.fuse(*outer, pixels)
    tile = _choose_tile(_extent(schedule, pixels), row, _extent(schedule, channels), tiling)
    pixels_outer, pixels_inner = schedule.split(pixels, [None, tile.pixels])
    channels_outer, vectors, lanes = schedule.split(channels, [None, tile.vectors, tile.lanes])
    schedule.reorder(*outer, pixels_outer, channels_outer, *reduced, pixels_inner, vectors, lanes)
    _store_after(schedule, block, epilogue, channels_outer, tiling)
    schedule.vectorize(lanes)
    schedule.unroll(pixels_inner)
    schedule.unroll(vectors)
    if reduced:
        # after vectorizing, so that the initialization is vectorized alike
        schedule.decompose_reduction(block, reduced[0])


def _schedule_producers(schedule: Schedule, producers: list[Block], tiling: Tiling) -> bool:
    """Inline producers but a real padding, which is copied once; return whether there is one."""
    padded = False
    for block in producers:
        if "if_then_else" in str(schedule.get(block).body):
            _vectorize_innermost(schedule, block, tiling)
            padded = True
        else:
            schedule.compute_inline(block)
    return padded


def _merge_epilogue(schedule: Schedule, blocks: list[Block]) -> Block | None:
    """Inline all blocks after the reduction into the last one."""
    for block in blocks[:-1]:
        schedule.compute_inline(block)
    return blocks[-1] if blocks else None


def _store_after(
    schedule: Schedule, block: Block, epilogue: Block | None, loop: Loop, tiling: Tiling
) -> None:
    """Accumulate in registers and write the tile out, through its epilogue, at ``loop``."""
    if epilogue is None:
        epilogue = schedule.cache_write(block, 0, "local")
    else:
        schedule.set_scope(block, 0, "local")
    schedule.reverse_compute_at(epilogue, loop)
    _vectorize_innermost(schedule, epilogue, tiling)


@dataclass(frozen=True)
class _Tile:
    pixels: int
    vectors: int
    lanes: int


def _choose_tile(n_pixels: int, row: int, n_channels: int, tiling: Tiling) -> _Tile:
    """Choose the largest tile whose partial sums fit the registers.

    A tile of pixels divides a row or is whole rows. Otherwise its bounding box,
    which is what reverse_compute_at stores, is larger than the tile, and the
    kernel is silently wrong.
    """
    lanes = _divisor(n_channels, tiling.vector_lanes)
    vectors = _divisor(n_channels // lanes, tiling.channel_vectors)
    limit = max(1, tiling.accumulators // vectors)
    pixels = max(
        d
        for d in range(1, min(n_pixels, limit) + 1)
        if n_pixels % d == 0 and (row % d == 0 or d % row == 0)
    )
    return _Tile(pixels, vectors, lanes)


def _vectorize_innermost(schedule: Schedule, block: Block, tiling: Tiling) -> None:
    loops = schedule.get_loops(block)
    if not loops:
        return
    lanes = _divisor(_extent(schedule, loops[-1]), tiling.vector_lanes)
    if lanes > 1:
        _, inner = schedule.split(loops[-1], [None, lanes])
        schedule.vectorize(inner)


def _split_by_kind(schedule: Schedule, block: Block) -> tuple[list[Loop], list[Loop]]:
    """Return the loops over spatial and over reduced axes, outermost first."""
    loops = schedule.get_loops(block)
    kinds = [int(axis.iter_type) for axis in schedule.get(block).iter_vars]
    if len(loops) != len(kinds):
        raise NoRuleError("loops and axes of a block do not match")
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind != _REDUCTION]
    reduced = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _REDUCTION]
    return spatial, reduced


def _is_pointwise(schedule: Schedule, reduced: list[Loop], padded: bool) -> bool:
    return not padded and all(_extent(schedule, loop) == 1 for loop in reduced[:-1])


def _reduces(schedule: Schedule, block: Block) -> bool:
    return any(int(axis.iter_type) == _REDUCTION for axis in schedule.get(block).iter_vars)


def _extent(schedule: Schedule, loop: Loop) -> int:
    return int(schedule.get(loop).extent)


def _divisor(number: int, limit: int) -> int:
    """Return the largest divisor of ``number`` up to ``limit``."""
    return max(d for d in range(1, min(number, limit) + 1) if number % d == 0)
