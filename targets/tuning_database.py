"""What tuning found: the best tile of each kernel, shared between models and runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from targets.code_version import SCHEDULE_RULES, code_version
from targets.device_state import cpu_model
from targets.json_lines import JsonLines

if TYPE_CHECKING:
    from targets.spec import TargetSpec


@dataclass(frozen=True)
class TunedKernel:
    """The outcome of tuning one kernel.

    Args:
        kernel: Its name, which says what it computes.
        tile: The best tile's fields; ``None`` where nothing beat the rules' own choice.
        latency_s: With that tile, per call, its data in the cache; ``None`` if every tile
            computed wrong numbers.
        default_s: With the rules' own choice, in the same run; ``None`` if it was wrong.
        n_candidates: How many tiles were tried, the rules' own among them.
        n_wrong: How many of them computed wrong numbers.
    """

    kernel: str
    tile: Mapping[str, int | bool] | None
    latency_s: float | None
    default_s: float | None
    n_candidates: int
    n_wrong: int


class TuningDatabase:
    """Tuned kernels of one target; what others add later is not seen.

    A snapshot, so that a search never mixes code from before and after a tuning.

    Args:
        folder: Root of the cache, which all targets share.
        spec: Of the target. Targets whose code and device are the same share results.
    """

    def __init__(self, folder: Path, spec: TargetSpec) -> None:
        self._lines = JsonLines(folder / "tuning.jsonl")
        self._context = _context(spec)
        self._tuned: dict[str, TunedKernel] = {}
        for _, document in self._lines:
            if document.get("context") == self._context:
                tuned = TunedKernel(**document["tuned"])
                self._tuned[tuned.kernel] = tuned

    def __contains__(self, kernel: str) -> bool:
        return kernel in self._tuned

    def __len__(self) -> int:
        return len(self._tuned)

    def __getitem__(self, kernel: str) -> TunedKernel:
        return self._tuned[kernel]

    def add(self, tuned: TunedKernel) -> None:
        """Keep a result; the last one of a kernel counts."""
        self._tuned[tuned.kernel] = tuned
        self._lines.append({"context": self._context, "tuned": asdict(tuned)})

    def tiles(self, kernels: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """Return the tiles, by kernel, of those that are better off without the rules' choice."""
        found = {name: self._tuned[name].tile for name in kernels if name in self._tuned}
        return {name: tile for name, tile in found.items() if tile is not None}

    @property
    def digest(self) -> str:
        """A hash of all tiles that are not the rules' own choice; empty where there is none."""
        tiles = {name: dict(tile) for name, tile in sorted(self.tiles(self._tuned).items())}
        return hashlib.sha256(json.dumps(tiles).encode()).hexdigest() if tiles else ""


def _context(spec: TargetSpec) -> str:
    board = f"{spec.rpc.key}:{spec.rpc.device}" if spec.rpc else cpu_model()
    parts = [spec.tvm_target, spec.threads, board, code_version(*SCHEDULE_RULES)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
