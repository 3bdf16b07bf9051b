"""Rule-based schedules for fused channels-last kernels: no tuning, milliseconds per network.

One rule serves everything that reduces (convolutions, matrix products, pooling):
a tile of pixels x channels is accumulated in vector registers over the whole
reduction, then the fused epilogue (bias, activation, residual) is applied to the
tile before it is stored. Everything else is inlined and vectorized.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from tvm import IRModule, tirx
from tvm.s_tir import Schedule

Block: TypeAlias = Any
Loop: TypeAlias = Any

# multiply-accumulates below which starting threads costs more than they save
_PARALLEL_WORK = 100_000
_LARGEST_UNROLLED_WINDOW = 49
_MOST_SHARED_VECTORS = 4
_REDUCTION = 2  # tirx.IterVar.CommReduce


@dataclass(frozen=True)
class Registers:
    """How the vector registers are used by one kind of kernel.

    Args:
        accumulators: Vector registers that may hold partial sums.
        tall: Of tiles with as many sums, take the one with most pixels, whose inputs can
            be operands in memory; else the squarest, which loads least.
    """

    accumulators: int
    tall: bool


@dataclass(frozen=True)
class Tiling:
    """What the rules need to know of a CPU.

    Args:
        vector_lanes: float32 values in one vector register.
        dense: For sums over input channels: convolutions, matrix products.
        depthwise: For sums over a window only.
        cores: Over which a kernel with enough work is spread.
    """

    vector_lanes: int
    dense: Registers
    depthwise: Registers
    cores: int = 1


@dataclass(frozen=True)
class Tile:
    """How one reduction is computed: the register tile and the loops around it.

    Args:
        pixels: Of the tile.
        vectors: Of channels, side by side in the tile.
        lanes: Channels in a vector.
        channels_outside: Loop over channels outside of the loop over pixels, so that a
            panel of weights stays in the cache; else the tile's input does.
        unroll_window: Unroll the loops over a convolution's window.
    """

    pixels: int
    vectors: int
    lanes: int
    channels_outside: bool = True
    unroll_window: bool = False


class NoRuleError(ValueError):
    """No rule fits a kernel."""


def schedule_kernel(
    function: tirx.PrimFunc, tiling: Tiling, tile: Tile | None = None
) -> tirx.PrimFunc:
    """Schedule one fused kernel.

    Args:
        function: As fusion made it.
        tiling: What the rules go by.
        tile: Instead of the rules' own choice, one of `tile_candidates`; for a
            kernel without reduction it has no meaning.

    Raises:
        NoRuleError: If it holds more than one reduction.
        tvm.s_tir.ScheduleError: If TVM refuses a transformation.
    """
    schedule = Schedule(IRModule({"main": function}))
    kernel = _Kernel.of(schedule)
    if kernel.reduction is None:
        _schedule_elementwise(schedule, kernel.before, tiling)
    else:
        _schedule_reduction(schedule, kernel, tiling, tile)
    attributes = dict(function.attrs) if function.attrs else {}
    return schedule.mod["main"].with_attrs(attributes).with_attr("s_tir.is_scheduled", True)


def tile_candidates(function: tirx.PrimFunc, tiling: Tiling) -> tuple[Tile, ...]:
    """Return the tiles worth trying for a kernel, the rules' own choice first.

    Empty for a kernel without a reduction, or one that no rule fits. They differ in
    pixels and vectors; `tile_variants` varies the loops around a tile.
    """
    schedule = Schedule(IRModule({"main": function}))
    try:
        kernel = _Kernel.of(schedule)
        if kernel.reduction is None:
            return ()
        space = _TileSpace.of(schedule, kernel)
    except NoRuleError:
        return ()
    default, accumulators = space.default(tiling), tiling.dense.accumulators
    others = {
        tile
        for tile in space.tiles(default.lanes, 2 * accumulators)
        if tile.pixels * tile.vectors * 4 >= accumulators
    }
    ordered = sorted(others - {default}, key=lambda tile: -tile.pixels * tile.vectors)
    return (default, *ordered)


def tile_variants(function: tirx.PrimFunc, tile: Tile) -> tuple[Tile, ...]:
    """Return one of a kernel's tiles with the loops around it varied, itself left out."""
    schedule = Schedule(IRModule({"main": function}))
    space = _TileSpace.of(schedule, _Kernel.of(schedule))
    variants = [replace(tile, channels_outside=not tile.channels_outside)]
    if 1 < space.window <= _LARGEST_UNROLLED_WINDOW:
        unrolled = [replace(v, unroll_window=not v.unroll_window) for v in (tile, *variants)]
        variants.extend(unrolled)
    return tuple(variants)


@dataclass(frozen=True)
class _Kernel:
    """The blocks of a kernel: what feeds the reduction, the reduction, what follows it."""

    before: list[Block]
    reduction: Block | None
    after: list[Block]

    @classmethod
    def of(cls, schedule: Schedule) -> _Kernel:
        blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
        reductions = [i for i, block in enumerate(blocks) if _reduces(schedule, block)]
        if not reductions:
            return cls(blocks, None, [])
        if len(reductions) > 1:
            raise NoRuleError(f"{len(reductions)} reductions in one kernel")
        at = reductions[0]
        return cls(blocks[:at], blocks[at], blocks[at + 1 :])


@dataclass(frozen=True)
class _TileSpace:
    """What a reduction's tile is cut from.

    Args:
        pixels: Along which tiles are cut: a row, or all pixels of a pointwise kernel.
        row: Length of a row.
        channels: Of the output.
        window: Inputs summed for an output and input channel.
        depth: Input channels summed for an output.
        pointwise: Whether each output pixel needs one input pixel only.
    """

    pixels: int
    row: int
    channels: int
    window: int
    depth: int
    pointwise: bool

    @classmethod
    def of(cls, schedule: Schedule, kernel: _Kernel) -> _TileSpace:
        spatial, reduced = _split_by_kind(schedule, kernel.reduction)
        if len(spatial) < 2:
            raise NoRuleError(f"reduction with {len(spatial)} spatial axes")
        extents = [_extent(schedule, loop) for loop in spatial]
        padded = any(_is_padding(schedule, block) for block in kernel.before)
        window = math.prod(_extent(schedule, loop) for loop in _window(reduced))
        pointwise = not padded and len(spatial) == 4 and window == 1
        pixels = math.prod(extents[:-1]) if pointwise else extents[-2]
        depth = _extent(schedule, reduced[-1]) if reduced else 1
        return cls(pixels, extents[-2], extents[-1], window, depth, pointwise)

    def default(self, tiling: Tiling) -> Tile:
        """Return the largest tile whose partial sums fit the registers."""
        depthwise = self.window > 1 and self.depth == 1
        registers = tiling.depthwise if depthwise else tiling.dense
        lanes = _divisor(self.channels, tiling.vector_lanes)

        def preference(tile: Tile) -> tuple[int, int, int]:
            squareness = -(tile.pixels + tile.vectors)
            second = tile.pixels if registers.tall else squareness
            return tile.pixels * tile.vectors, second, tile.pixels

        return max(self.tiles(lanes, registers.accumulators), key=preference)

    def tiles(self, lanes: int, accumulators: int) -> list[Tile]:
        """Return the tiles of vectors of so many lanes whose sums fit so many registers."""
        n_vectors = self.channels // lanes
        # with one pixel, weights are read once: the longer the piece of a row, the better;
        # with more of them, few vectors leave registers for pixels that share the weights
        most = accumulators if self.pixels == 1 else _MOST_SHARED_VECTORS
        return [
            Tile(pixels, vectors, lanes)
            for vectors in range(1, min(n_vectors, most) + 1)
            if n_vectors % vectors == 0
            for pixels in self.pixel_tiles(accumulators // vectors)
        ]

    def pixel_tiles(self, limit: int) -> list[int]:
        """Return the numbers of pixels, up to a limit, that a tile may have.

        A tile of pixels divides a row or is whole rows. Otherwise its bounding box,
        which is what reverse_compute_at stores, is larger than the tile, and the
        kernel is silently wrong.
        """
        return [
            pixels
            for pixels in range(1, max(1, min(self.pixels, limit)) + 1)
            if self.pixels % pixels == 0 and (self.row % pixels == 0 or pixels % self.row == 0)
        ]


def _schedule_elementwise(schedule: Schedule, blocks: list[Block], tiling: Tiling) -> None:
    """Inline everything into the last block and vectorize its innermost axis."""
    for block in blocks[:-1]:
        schedule.compute_inline(block)
    if blocks:
        _vectorize_innermost(schedule, blocks[-1], tiling)


def _schedule_reduction(
    schedule: Schedule, kernel: _Kernel, tiling: Tiling, tile: Tile | None
) -> None:
    """Tile a reduction in registers; inline what feeds it, fuse what follows it."""
    space = _TileSpace.of(schedule, kernel)
    tile = tile or space.default(tiling)
    block = kernel.reduction
    _schedule_producers(schedule, kernel.before, tiling)
    epilogue = _merge_epilogue(schedule, kernel.after)
    spatial, reduced = _split_by_kind(schedule, block)
    work = math.prod(_extent(schedule, loop) for loop in (*spatial, *reduced))
    *outer, pixels, channels = spatial
    if space.pointwise:
        outer, pixels = [], schedule.fuse(*outer, pixels)
    pixels_outer, pixels_inner = schedule.split(pixels, [None, tile.pixels])
    channels_outer, vectors, lanes = schedule.split(channels, [None, tile.vectors, tile.lanes])
    around = [*outer, pixels_outer, channels_outer]
    if tile.channels_outside:
        around = [channels_outer, *outer, pixels_outer]
    schedule.reorder(*around, *reduced, pixels_inner, vectors, lanes)
    _store_after(schedule, block, epilogue, around, tiling)
    schedule.vectorize(lanes)
    schedule.unroll(pixels_inner)
    schedule.unroll(vectors)
    if tiling.cores > 1 and work >= _PARALLEL_WORK:
        schedule.parallel(schedule.fuse(*around[:-1]))
    if reduced:
        # after vectorizing, so that the initialization is vectorized alike
        schedule.decompose_reduction(block, reduced[0])
    if tile.unroll_window:
        for loop in _window(reduced):
            schedule.unroll(loop)


def _schedule_producers(schedule: Schedule, producers: list[Block], tiling: Tiling) -> None:
    """Inline producers but a real padding, which is copied once."""
    for block in producers:
        if _is_padding(schedule, block):
            _vectorize_innermost(schedule, block, tiling)
        else:
            schedule.compute_inline(block)


def _is_padding(schedule: Schedule, block: Block) -> bool:
    return "if_then_else" in str(schedule.get(block).body)


def _merge_epilogue(schedule: Schedule, blocks: list[Block]) -> Block | None:
    """Inline all blocks after the reduction into the last one."""
    for block in blocks[:-1]:
        schedule.compute_inline(block)
    return blocks[-1] if blocks else None


def _store_after(
    schedule: Schedule, block: Block, epilogue: Block | None, around: list[Loop], tiling: Tiling
) -> None:
    """Accumulate in registers; write the tile out, through its epilogue, inside of some loops."""
    if epilogue is None:
        epilogue = schedule.cache_write(block, 0, "local")
    else:
        schedule.set_scope(block, 0, "local")
    schedule.reverse_compute_at(epilogue, around[-1])
    # a tile of one value has no loop of its own: the innermost is one around the tile
    if len(schedule.get_loops(epilogue)) > len(around):
        _vectorize_innermost(schedule, epilogue, tiling)


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


def _window(reduced: list[Loop]) -> list[Loop]:
    """Return the loops over a convolution's window: all but the last, over input channels."""
    return reduced[:-1]


def _reduces(schedule: Schedule, block: Block) -> bool:
    return any(int(axis.iter_type) == _REDUCTION for axis in schedule.get(block).iter_vars)


def _extent(schedule: Schedule, loop: Loop) -> int:
    return int(schedule.get(loop).extent)


def _divisor(number: int, limit: int) -> int:
    """Return the largest divisor of ``number`` up to ``limit``."""
    return max(d for d in range(1, min(number, limit) + 1) if number % d == 0)
