"""Time the kernels of networks one by one on a device, each only once."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from targets._types import Provenance
from targets.kernel_calls import KernelArguments, OpenSession, time_kernel
from targets.kernel_database import KernelDatabase, KernelTime
from targets.tvm_build import link
from targets.tvm_kernels import KernelCache
from targets.tvm_schedule import Tile

if TYPE_CHECKING:
    from tvm import tirx

# long beside the clock's resolution and the start of a call
_SAMPLE_S = 3e-4
_SAMPLES_PER_ROUND = 2
# what disturbs a device for a moment disturbs one round
_ROUNDS = 3
# a device that gets lost costs what was timed of one library
_KERNELS_PER_LIBRARY = 64


class KernelTimer:
    """Times kernels that a database lacks.

    Args:
        cache: Compiles for the target.
        open_session: Reaches the device.
        linker: As for `targets.tvm_build.link`.
        provenance: Of times that the device shows.
    """

    def __init__(
        self,
        cache: KernelCache,
        open_session: OpenSession,
        linker: str | None,
        provenance: Provenance,
    ) -> None:
        self._cache = cache
        self._open_session = open_session
        self._linker = linker
        self._provenance: Provenance = provenance

    def time(
        self,
        kernels: Mapping[str, tirx.PrimFunc],
        tiles: Mapping[str, Mapping[str, Any]],
        database: KernelDatabase,
    ) -> dict[str, KernelTime]:
        """Return the time of each kernel; those the database lacks are measured now.

        Args:
            kernels: Unscheduled, by name.
            tiles: Fields of the tile, of those that are not tiled by the rules.
            database: Gets what is measured, one library of kernels after the other.

        Raises:
            RuntimeError: If TVM or the linker cannot compile them, or for a GPU, where TVM
                schedules a network as a whole.
        """
        kind = str(self._cache.target.kind.name)
        if kind != "llvm":
            raise RuntimeError(f"kernels are timed one by one on CPUs only, not on {kind}")
        missing = [name for name in kernels if (name, tiles.get(name)) not in database]
        for start in range(0, len(missing), _KERNELS_PER_LIBRARY):
            part = {name: kernels[name] for name in missing[start : start + _KERNELS_PER_LIBRARY]}
            for name, samples_s in self._measure(part, tiles).items():
                database.add(KernelTime(name, samples_s, self._provenance), tiles.get(name))
        return {name: database[name, tiles.get(name)] for name in kernels}

    def _measure(
        self, kernels: Mapping[str, tirx.PrimFunc], tiles: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, tuple[float, ...]]:
        """Return samples of each kernel, taken in rounds over all of them."""
        library = self._library(kernels, tiles)
        samples_s: dict[str, tuple[float, ...]] = dict.fromkeys(kernels, ())
        with self._open_session() as session:
            session.load(library)
            for _ in range(_ROUNDS):
                for name, function in kernels.items():
                    arguments = KernelArguments.of(function)
                    samples_s[name] += time_kernel(
                        session, name, arguments, _SAMPLE_S, _SAMPLES_PER_ROUND
                    )
        return samples_s

    def _library(
        self, kernels: Mapping[str, tirx.PrimFunc], tiles: Mapping[str, Mapping[str, Any]]
    ) -> bytes:
        """Link kernels; those that a network was compiled with are not compiled again."""
        objects = [
            self._cache.get(name, function, Tile(**tiles[name]) if name in tiles else None).path
            for name, function in kernels.items()
        ]
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "kernels.so"
            link(library, objects, self._linker)
            return library.read_bytes()
