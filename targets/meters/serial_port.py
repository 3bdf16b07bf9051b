"""A serial port, with errors that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from targets.meters._types import MeterError

if TYPE_CHECKING:
    import serial

_PERMISSION_FIX = "let the user open serial ports: usermod -aG dialout USER, and log in again"


class SerialPort:
    """Reads and writes a meter's port.

    Args:
        meter: What messages call the meter.
        path: Of the port, such as ``/dev/ttyACM0``.
        baud: Bits a second; without meaning where the port is USB itself.
        timeout_s: Longest wait for an answer.

    Raises:
        MeterError: If it cannot be opened.
    """

    def __init__(self, meter: str, path: str, baud: int, timeout_s: float = 1.0) -> None:
        try:
            import serial
        except ImportError:
            raise MeterError(
                f"{meter}: the package pyserial is missing", "pip install 'hwnas[meters]'"
            ) from None
        self._name = f"{meter} at {path}"
        self._error: Any = serial.SerialException
        try:
            self._port: serial.Serial = serial.Serial(
                path, baud, timeout=timeout_s, write_timeout=timeout_s, exclusive=True
            )
        except serial.SerialException as error:
            raise self._refusal(error, path) from None

    def write(self, content: bytes) -> None:
        """Send bytes."""
        try:
            self._port.write(content)
            self._port.flush()
        except (self._error, OSError) as error:
            raise self._gone(error) from None

    def read(self, most: int) -> bytes:
        """Return what has arrived, at least a byte; nothing if nothing comes in time."""
        try:
            waiting = max(1, self._port.in_waiting)
            return bytes(self._port.read(min(waiting, most)))
        except (self._error, OSError, TypeError) as error:
            raise self._gone(error) from None

    def read_line(self) -> str:
        """Return a line without its end; nothing if none comes in time."""
        try:
            return bytes(self._port.readline()).decode("ascii", errors="replace").strip()
        except (self._error, OSError, TypeError) as error:
            raise self._gone(error) from None

    def drop_input(self) -> None:
        """Forget what has arrived."""
        try:
            self._port.reset_input_buffer()
        except (self._error, OSError) as error:
            raise self._gone(error) from None

    def close(self) -> None:
        """Close it."""
        self._port.close()

    def _gone(self, error: Exception) -> MeterError:
        reason = " ".join(str(error).split()) or type(error).__name__
        return MeterError(f"{self._name}: unplugged? ({reason})", "look after the cable")

    def _refusal(self, error: Any, path: str) -> MeterError:
        number = getattr(error, "errno", None)
        if number == 13:
            return MeterError(f"{self._name}: permission denied", _PERMISSION_FIX)
        if number == 2:
            return MeterError(f"{self._name}: there is no {path}", "plug it in; see dmesg")
        reason = " ".join(str(error).split())
        return MeterError(f"{self._name}: {reason}", "does another program use it?")
