"""What goes wrong on a device, on its way to becoming a `Failure`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from targets._types import FailureStage


class CompileError(RuntimeError):
    """The toolchain cannot compile a model."""


class DeviceRefusedError(RuntimeError):
    """The device works and says what is wrong, or there is none: trying again is of no use.

    Args:
        reason: One line.
        stage: What it was doing.
    """

    def __init__(self, reason: object, stage: FailureStage = "run") -> None:
        super().__init__(str(reason))
        self.stage: FailureStage = stage


class DeviceLostError(RuntimeError):
    """The device, or the connection to it, is gone: another try may work.

    Args:
        stage: What it was doing.
        reason: One line.
    """

    def __init__(self, stage: FailureStage, reason: object) -> None:
        super().__init__(str(reason))
        self.stage: FailureStage = stage


def last_line(reason: object) -> str:
    """Return the last line of an error, where its message stands after any traceback."""
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    return lines[-1].strip()[:500]
