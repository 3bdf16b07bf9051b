"""A serial port, with errors that say what to do."""

from __future__ import annotations

import errno
import glob
import termios
from contextlib import suppress

from targets.meters._types import MeterError

_WAIT_S = 0.05
_WRITE_S = 1.0
_PERMISSION_FIX = (
    "let the user open serial ports: sudo usermod -aG dialout $USER and log in again, "
    "or the udev rule in docs/meters"
)
_GONE = (OSError, TypeError, termios.error)
"""What pyserial raises when a port goes away: its own errors are an OSError's."""


class SerialPort:
    """Reads and writes a meter's port, which no other program may have open.

    Args:
        meter: What messages call the meter.
        path: Of the port, such as ``/dev/ttyACM0``.
        baud: Bits a second; without meaning where the meter itself is the USB device.

    Raises:
        MeterError: If it cannot be opened.
    """

    def __init__(self, meter: str, path: str, baud: int) -> None:
        try:
            import serial
        except ImportError:
            raise MeterError(
                f"{meter}: the package pyserial is missing",
                "pip install 'hwnas[meters]', or pyserial where the meter is attached",
            ) from None
        self.path = path
        self._name = f"{meter} at {path}"
        try:
            self._port = serial.Serial(
                path, baud, timeout=_WAIT_S, write_timeout=_WRITE_S, exclusive=True
            )
        except (*_GONE, ValueError) as error:
            raise self._refusal(error) from None

    def write(self, content: bytes) -> None:
        """Send bytes.

        Raises:
            MeterError: If the port is gone.
        """
        try:
            self._port.write(content)
        except _GONE as error:
            raise self._gone(error) from None

    def last_write(self, content: bytes) -> None:
        """Send bytes if the port is still there."""
        with suppress(*_GONE):
            self._port.write(content)

    def read(self) -> bytes:
        """Return what has arrived; nothing if nothing comes for 50 ms.

        Raises:
            MeterError: If the port is gone.
        """
        try:
            return bytes(self._port.read(max(1, self._port.in_waiting)))
        except _GONE as error:
            raise self._gone(error) from None

    def close(self) -> None:
        """Close it."""
        with suppress(*_GONE):
            self._port.close()

    def _gone(self, error: Exception) -> MeterError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return MeterError(
            f"{self._name}: unplugged? ({reason})", "look after the cable, and measure again"
        )

    def _refusal(self, error: Exception) -> MeterError:
        number = getattr(error, "errno", None)
        if number in (errno.EACCES, errno.EPERM):
            return MeterError(f"{self._name}: permission denied", _PERMISSION_FIX)
        if number == errno.ENOENT:
            ports = sorted(glob.glob("/dev/ttyACM*") + glob.glob("/dev/ttyUSB*"))
            return MeterError(
                f"{self._name}: there is no such port; there are: {', '.join(ports) or 'none'}",
                "plug the meter in, and see dmesg for the name of its port",
            )
        reason = " ".join(str(error).split())
        if "exclusively lock" in reason or number == errno.EBUSY:
            return MeterError(f"{self._name}: another program uses it", "close that program")
        return MeterError(f"{self._name}: cannot be opened ({reason})", "is it a serial port?")
