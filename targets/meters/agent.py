"""What reads a meter, in a process of its own: ``python -m targets.meters.agent``.

It runs where the meter is attached: on this computer, or on a board or another computer to
which it was sent as a zip file (see `targets.meters.shipping`). There it needs Python, numpy,
and what the driver needs, and nothing else of hwnas.

A request is a line of JSON on standard input, and so is the answer on standard output; arrays
follow it as an ``.npz`` of the stated size. The process ends when its standard input closes.
"""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from targets.meters._types import EnergyCounter, MeterError, PowerMeter, PowerSampler
from targets.meters.reduction import Reduction
from targets.meters.registry import open_meter

_COUNTER_PERIOD_S = 0.1
_CLOSE_S = 5.0


class Recorder:
    """Records one meter in a thread, between start and stop.

    Args:
        meter: What to record.
    """

    def __init__(self, meter: PowerMeter) -> None:
        self._meter = meter
        self._reduction = Reduction(meter.info)
        self._stop = threading.Event()
        self._error: MeterError | None = None
        record = self._count if isinstance(meter, EnergyCounter) else self._sample
        self._thread = threading.Thread(target=self._guarded, args=(record,), daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, NDArray[Any]]:
        """Stop, and return what was recorded.

        Raises:
            MeterError: If the meter failed meanwhile, or does not stop.
        """
        self._stop.set()
        self._thread.join(_CLOSE_S)
        if self._error is not None:
            raise self._error
        if self._thread.is_alive():
            raise MeterError(f"{self._meter.info.rail}: the meter stopped answering")
        return self._reduction.arrays()

    def _guarded(self, record: Callable[[], None]) -> None:
        try:
            record()
        except MeterError as error:
            self._error = error
        except Exception as error:  # told to whoever stops the recording
            self._error = MeterError(f"{type(error).__name__}: {error}")

    def _sample(self) -> None:
        meter = self._meter
        if not isinstance(meter, PowerSampler):
            raise MeterError(f"{meter.info.rail}: neither a counter nor a sampler")
        stream = meter.stream()
        for samples in stream:
            self._reduction.add(samples)
            if self._stop.is_set():
                break
        else:
            if not self._stop.is_set():
                raise MeterError(f"{meter.info.rail}: the meter stopped sending samples")
        if close := getattr(stream, "close", None):
            close()

    def _count(self) -> None:
        meter = self._meter
        if not isinstance(meter, EnergyCounter):
            raise MeterError(f"{meter.info.rail}: neither a counter nor a sampler")
        period_s = max(_COUNTER_PERIOD_S, 2 * meter.info.update_period_s)
        period_s = min(period_s, meter.wrap_s / 3)
        while True:
            joules = meter.joules()
            self._reduction.add_count(time.monotonic(), joules)
            if self._stop.wait(period_s):
                self._reduction.add_count(time.monotonic(), meter.joules())
                return


class Agent:
    """Serves requests about one meter."""

    def __init__(self) -> None:
        self._meter: PowerMeter | None = None
        self._recorder: Recorder | None = None

    def open(self, request: dict[str, Any]) -> dict[str, Any]:
        """Open a meter; the answer holds what it says of itself."""
        self._meter = open_meter(request["kind"], request["options"])
        return {"info": asdict(self._meter.info)}

    def clock(self, _: dict[str, Any]) -> dict[str, Any]:
        """Tell the time of this computer."""
        return {"t_s": time.monotonic()}

    def start(self, _: dict[str, Any]) -> dict[str, Any]:
        """Start recording; what was recorded before is dropped."""
        if self._meter is None:
            raise MeterError("no meter is open")
        self._recorder = Recorder(self._meter)
        return {}

    def stop(self, _: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Stop recording and return it."""
        if self._recorder is None:
            raise MeterError("nothing was being recorded")
        recorder, self._recorder = self._recorder, None
        return recorder.stop()

    def close(self) -> None:
        """Let go of the meter."""
        if self._meter is not None:
            self._meter.close()


def answer(agent: Agent, line: bytes) -> bytes:
    """Return the answer to a request."""
    request = json.loads(line)
    header: dict[str, Any]
    content = b""
    try:
        result = getattr(agent, request["command"])(request)
    except MeterError as error:
        header = {"error": str(error), "fix": error.fix}
    else:
        header = result
        if request["command"] == "stop":
            file = io.BytesIO()
            np.savez(file, **result)
            header, content = {}, file.getvalue()
    return json.dumps({**header, "size": len(content)}).encode() + b"\n" + content


def main() -> None:
    """Answer requests until standard input closes."""
    agent = Agent()
    try:
        while line := sys.stdin.buffer.readline():
            sys.stdout.buffer.write(answer(agent, line))
            sys.stdout.buffer.flush()
    finally:
        agent.close()


if __name__ == "__main__":
    main()
