"""A quick tuner: a handful of tiles per kernel, checked for equality, timed on the device."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import tvm
from tvm import s_tir, tirx

from targets.kernel_calls import (
    KernelArguments,
    KernelSession,
    OpenSession,
    called_kernels,
    time_kernel,
)
from targets.tuning_database import TunedKernel, TuningDatabase
from targets.tvm_build import link
from targets.tvm_kernels import KernelCache, kernels_of, object_code
from targets.tvm_schedule import (
    NoRuleError,
    Tile,
    schedule_kernel,
    tile_candidates,
    tile_variants,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float32]"

# A tile must be this much faster than the rules' own choice: repeated timings of one
# kernel differ by less.
_LEAST_GAIN = 0.03
# reordered float32 sums differ by about 1e-6 of the scale; wrong kernels by 1e-3 and more
_TOLERANCE = 2e-5
_TIME_PER_REPEAT_S = 5e-4
_REPEATS = 3
_ROUNDS = 3
_REFERENCE = "reference"


Observer: TypeAlias = Callable[[TunedKernel, int, int], None]
"""Called after every kernel with (result, done, total)."""


@dataclass(frozen=True)
class Kernel:
    """A kernel to tune.

    Args:
        name: From `targets.tvm_kernels.name_kernels`.
        function: What it computes, unscheduled.
        n_calls: How often the models together call it.
    """

    name: str
    function: tirx.PrimFunc
    n_calls: int


def tunable_kernels(modules: Sequence[tvm.IRModule], cache: KernelCache) -> list[Kernel]:
    """Return the kernels of models that have more than one tile to try, each once."""
    functions: dict[str, tirx.PrimFunc] = {}
    n_calls: Counter[str] = Counter()
    for module in modules:
        functions.update(kernels_of(module))
        n_calls.update(called_kernels(module))
    return [
        Kernel(name, function, n_calls[name])
        for name, function in functions.items()
        if len(tile_candidates(function, cache.tiling)) > 1
    ]


class Tuner:
    """Tunes kernels on a device.

    Args:
        cache: Compiles for the target.
        open_session: Reaches the device.
        linker: As for `targets.tvm_build.link`.
    """

    def __init__(self, cache: KernelCache, open_session: OpenSession, linker: str | None) -> None:
        self._cache = cache
        self._open_session = open_session
        self._linker = linker

    def tune(
        self,
        kernels: Sequence[Kernel],
        database: TuningDatabase,
        seconds: float,
        observer: Observer | None = None,
    ) -> list[TunedKernel]:
        """Tune the kernels that the database lacks, those that take most time first.

        Args:
            kernels: From `tunable_kernels`.
            database: Gets each result as soon as it is there.
            seconds: No kernel is begun after so long.
            observer: Told of every result.

        Returns:
            The results of this call.
        """
        end = time.monotonic() + seconds
        missing = [kernel for kernel in kernels if kernel.name not in database]
        results: list[TunedKernel] = []
        for kernel in self._slowest_first(missing):
            if time.monotonic() > end:
                break
            tuned = self._tune_kernel(kernel)
            database.add(tuned)
            results.append(tuned)
            if observer is not None:
                observer(tuned, len(results), len(missing))
        return results

    def _slowest_first(self, kernels: Sequence[Kernel]) -> list[Kernel]:
        """Order by the time that the rules' own tiles take in all calls together."""
        if len(kernels) < 2:
            return list(kernels)
        functions = {
            kernel.name: schedule_kernel(kernel.function, self._cache.tiling) for kernel in kernels
        }
        with self._loaded(functions) as session:
            total_s = {
                kernel.name: kernel.n_calls
                * _time(session, kernel.name, KernelArguments.of(kernel.function))
                for kernel in kernels
            }
        return sorted(kernels, key=lambda kernel: -total_s[kernel.name])

    def _tune_kernel(self, kernel: Kernel) -> TunedKernel:
        """Vary the register tile first, then the loops around the best one."""
        default, *others = tile_candidates(kernel.function, self._cache.tiling)
        first = self._try(kernel, [default, *others])
        best = first.best(default)
        variants = tile_variants(kernel.function, best)
        second = self._try(kernel, [default, best, *variants])
        winner = second.best(default)
        default_s = second.latency_s.get(default)
        latency_s = second.latency_s.get(winner)
        if default_s and latency_s and latency_s > default_s * (1 - _LEAST_GAIN):
            winner, latency_s = default, default_s
        return TunedKernel(
            kernel.name,
            None if winner == default else asdict(winner),
            latency_s,
            default_s,
            n_candidates=1 + len(others) + len(variants),
            n_wrong=first.n_wrong + second.n_wrong,
        )

    def _try(self, kernel: Kernel, tiles: Sequence[Tile]) -> _Trial:
        """Time tiles, in turns, that compute what the unscheduled kernel computes."""
        tiles = list(dict.fromkeys(tiles))
        functions: dict[str, tirx.PrimFunc] = {_REFERENCE: kernel.function}
        named: dict[str, Tile] = {}
        for index, tile in enumerate(tiles):
            try:
                function = schedule_kernel(kernel.function, self._cache.tiling, tile)
            except (s_tir.ScheduleError, NoRuleError):
                continue
            functions[f"tile{index}"] = function
            named[f"tile{index}"] = tile
        call = KernelArguments.of(kernel.function)
        with self._loaded(functions) as session:
            expected = session.call_kernel(_REFERENCE, call.inputs, call.output_shape)
            right = {
                name: tile
                for name, tile in named.items()
                if _equal(session.call_kernel(name, call.inputs, call.output_shape), expected)
            }
            rounds = [{name: _time(session, name, call) for name in right} for _ in range(_ROUNDS)]
        latency_s = {tile: min(times[name] for times in rounds) for name, tile in right.items()}
        return _Trial(latency_s, len(named) - len(right))

    @contextmanager
    def _loaded(self, functions: Mapping[str, tirx.PrimFunc]) -> Iterator[KernelSession]:
        library = self._library(functions)
        with self._open_session() as session:
            session.load(library)
            yield session

    def _library(self, functions: Mapping[str, tirx.PrimFunc]) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            kernels, library = Path(folder) / "kernels.o", Path(folder) / "kernels.so"
            kernels.write_bytes(object_code(functions, self._cache.target))
            link(library, [kernels], self._linker)
            return library.read_bytes()


@dataclass(frozen=True)
class _Trial:
    """Seconds per call of the tiles that compute the right numbers."""

    latency_s: dict[Tile, float]
    n_wrong: int

    def best(self, default: Tile) -> Tile:
        return min(self.latency_s, key=self.latency_s.__getitem__, default=default)


def _time(session: KernelSession, name: str, arguments: KernelArguments) -> float:
    return min(time_kernel(session, name, arguments, _TIME_PER_REPEAT_S, _REPEATS))


def _equal(output: Array, expected: Array) -> bool:
    scale = float(np.abs(expected).max())
    return bool(np.abs(output - expected).max() <= _TOLERANCE * scale)  # NaN is not
