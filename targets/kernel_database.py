"""How long single kernels take: measured once, shared between networks, runs and processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from targets._types import Provenance
from targets.code_version import SCHEDULE_RULES, code_version
from targets.device_state import cpu_model
from targets.json_lines import JsonLines

if TYPE_CHECKING:
    from targets.spec import TargetSpec


CompiledAs: TypeAlias = tuple[str, Mapping[str, Any] | None]
"""A kernel's name and the fields of its tile; ``None`` for the rules' own choice."""


@dataclass(frozen=True)
class KernelTime:
    """How long one kernel takes, called again and again with the same data.

    Whatever fits into the cache is in the cache: as in a network, where a kernel reads what
    the one before it has just written.

    Args:
        kernel: Its name, from `targets.tvm_kernels.name_kernels`: equal kernels of different
            networks have equal names.
        samples_s: Seconds per call; each a mean over many calls in a row, some time apart.
        provenance: ``measured``, or ``emulated``.
    """

    kernel: str
    samples_s: tuple[float, ...]
    provenance: Provenance

    @property
    def latency_s(self) -> float:
        """Median of the samples, seconds."""
        return float(np.median(self.samples_s))

    @property
    def relative_spread(self) -> float:
        """Standard error of the median, relative to it.

        From the median absolute deviation, as if the samples were normal but for outliers:
        1.4826 MAD estimates their standard deviation, and sqrt(pi / 2 n) times that is the
        standard error of their median.

        References:
            Rousseeuw & Croux (1993), Alternatives to the median absolute deviation, Sec. 1.
            doi:10.1080/01621459.1993.10476408
        """
        deviation = 1.4826 * float(np.median(np.abs(np.subtract(self.samples_s, self.latency_s))))
        return deviation * float(np.sqrt(np.pi / 2 / len(self.samples_s))) / self.latency_s


class KernelDatabase:
    """Times of kernels on one target, in an append-only file that all targets share.

    A time holds for a kernel, the tile it was compiled with, the device, its clock and the
    toolchain: where any of these differs it is not found.

    Args:
        folder: Root of the cache.
        spec: Of the target.
    """

    def __init__(self, folder: Path, spec: TargetSpec) -> None:
        self._lines = JsonLines(folder / "kernels.jsonl")
        parts = [spec.device_fingerprint, cpu_model(), code_version(*SCHEDULE_RULES)]
        self._context = _digest(parts)
        self._times: dict[str, KernelTime] = {}
        for _, document in self._lines:
            if document.get("context") == self._context:
                fields = document["time"]
                samples_s = tuple(float(sample) for sample in fields["samples_s"])
                self._times[document["key"]] = KernelTime(**fields | {"samples_s": samples_s})

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, key: CompiledAs) -> bool:
        return _digest(key) in self._times

    def __getitem__(self, key: CompiledAs) -> KernelTime:
        return self._times[_digest(key)]

    def add(self, time: KernelTime, tile: Mapping[str, Any] | None) -> None:
        """Keep a time; the last one of a kernel counts."""
        key = _digest((time.kernel, tile))
        self._times[key] = time
        self._lines.append({"context": self._context, "key": key, "time": asdict(time)})


def _digest(parts: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
