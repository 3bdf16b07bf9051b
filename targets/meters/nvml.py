"""The energy counter of NVIDIA's discrete GPUs, through NVML."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from targets.meters._types import MeterError, MeterInfo

_UPDATE_PERIOD_S = 0.1
_MILLI = 1e-3


class Nvml:
    """Counts a GPU's energy; see `targets.meters.EnergyCounter`.

    Args:
        index: Of the GPU, as in ``nvidia-smi -L``.
        gain_error: Limit of its relative error. NVIDIA states 5 W for power readings and
            nothing for the counter: by default intervals hold the scatter alone.

    Raises:
        MeterError: If there is no driver, GPU or counter.

    References:
        https://docs.nvidia.com/deploy/nvml-api/ (``nvmlDeviceGetTotalEnergyConsumption``:
        millijoules since the driver was loaded, Volta and newer). Updates come about every
        100 ms: Yang et al. (2023), Part-time power measurements, arXiv:2312.02741, Sec. 4.
    """

    def __init__(self, *, index: int = 0, gain_error: float = 0.0) -> None:
        try:
            import pynvml
        except ImportError:
            raise MeterError(
                "nvml: the package nvidia-ml-py is missing", "pip install 'hwnas[meters]'"
            ) from None
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise MeterError(f"nvml: {error}", "install NVIDIA's driver, or load it") from None
        try:
            self._gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = _text(pynvml.nvmlDeviceGetName(self._gpu))
            self._first_j = self._last_j = self._counter_j()
        except pynvml.NVMLError as error:
            count = pynvml.nvmlDeviceGetCount()
            self.close()
            raise MeterError(
                f"nvml: GPU {index} of {count}: {error}",
                "the counter needs a GPU of the Volta generation or newer; see nvidia-smi -L",
            ) from None
        stated = "" if gain_error else "; its maker states no accuracy of the counter"
        self._info = MeterInfo(
            rail=f"nvml:{index}",
            scope=f"GPU {index} ({name}) with its memory, not the computer{stated}",
            update_period_s=_UPDATE_PERIOD_S,
            resolution=_MILLI,
            range_w=None,
            gain_error=gain_error,
            offset_error_w=0.0,
            averages=True,
            polled=True,
            bandwidth_hz=1 / (2 * _UPDATE_PERIOD_S),
            counts=True,
            source="NVML API; arXiv:2312.02741, Sec. 4",
        )

    @property
    def info(self) -> MeterInfo:
        """What it measures, and how well."""
        return self._info

    @property
    def wrap_s(self) -> float:
        """Never: the counter has 64 bits."""
        return float("inf")

    def joules(self) -> float:
        """Return the GPU's energy since it was opened.

        Raises:
            MeterError: If the GPU is gone, or its driver was loaded anew.
        """
        try:
            now_j = self._counter_j()
        except self._nvml.NVMLError as error:
            raise MeterError(
                f"{self._info.rail}: {error}", "look with nvidia-smi; measure again"
            ) from None
        if now_j < self._last_j:
            raise MeterError(
                f"{self._info.rail}: the counter went back from {self._last_j:.3f} "
                f"to {now_j:.3f} J: the driver was loaded anew",
                "measure again; nvidia-smi -pm 1 keeps the driver loaded",
            )
        self._last_j = now_j
        return now_j - self._first_j

    def close(self) -> None:
        """Let go of the library."""
        with suppress(self._nvml.NVMLError):  # it was closed before
            self._nvml.nvmlShutdown()

    def _counter_j(self) -> float:
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu)) * _MILLI


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
