"""Meters from the side of whoever measures: a link to the process that reads each of them."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from targets.child_process import ChildProcess, ProcessEndedError, watchdog
from targets.meters import MeterError, MeterInfo
from targets.meters.shipping import BOOTSTRAP, shipment
from targets.npz import unpack_named
from targets.power_trace import PowerTrace

if TYPE_CHECKING:
    from targets.spec import MeterSpec

T = TypeVar("T")
_ANSWER_S = 30.0
_PINGS = 9


class Channel(Protocol):
    """Carries requests to an agent: see `targets.meters.agent`."""

    def ask(self, request: bytes) -> tuple[dict[str, Any], bytes]:
        """Return the answer's header and content.

        Raises:
            MeterError: If the agent is gone or does not answer.
        """
        ...

    def close(self) -> None:
        """End the agent."""
        ...


class ProcessChannel:
    """An agent in a process: on this computer, or behind SSH.

    Args:
        name: What messages call it.
        ssh: ``user@host``; ``None`` for this computer.
    """

    def __init__(self, name: str, ssh: str | None = None) -> None:
        self._name, self._ssh = name, ssh
        if ssh is None:
            self._process = ChildProcess("targets.meters.agent")
            return
        options = ("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5")
        command = ("ssh", *options, "--", f"ssh://{ssh}", f"python3 -c {shlex.quote(BOOTSTRAP)}")
        try:
            self._process = ChildProcess(f"ssh {ssh}", command=command)
        except FileNotFoundError:
            raise MeterError("there is no ssh on this computer", "install openssh-client") from None
        self._guarded(lambda: self._process.send(shipment()))

    def ask(self, request: bytes) -> tuple[dict[str, Any], bytes]:
        """Return the answer's header and content."""

        def talk() -> tuple[dict[str, Any], bytes]:
            self._process.send(request + b"\n")
            header = json.loads(self._process.receive_line())
            return header, self._process.receive(header["size"])

        return self._guarded(talk)

    def close(self) -> None:
        """End the agent."""
        self._process.kill()

    def _guarded(self, talk: Callable[[], T]) -> T:
        fix = ""
        if self._ssh is not None:
            fix = f"try it by hand: ssh ssh://{self._ssh} python3 -c 'import numpy'"
        try:
            with watchdog(_ANSWER_S, self._process.kill):
                return talk()
        except TimeoutError as error:
            raise MeterError(f"{self._name}: {error}", fix) from None
        except (ProcessEndedError, ValueError) as error:
            raise MeterError(f"{self._name}: {error}", fix) from None


class MeterLink:
    """One meter, wherever it is attached.

    Args:
        channel: To the agent that reads it.
        spec: Of the meter.

    Raises:
        MeterError: If the meter cannot be opened.
    """

    def __init__(self, channel: Channel, spec: MeterSpec) -> None:
        self._channel = channel
        try:
            header, _ = self._ask("open", kind=spec.kind, options=spec.options)
        except MeterError:
            channel.close()
            raise
        self.info = _where(MeterInfo(**header["info"]), spec)
        self._offset_s, self._clock_error_s = self._clock()

    def start(self) -> None:
        """Record from now on."""
        self._offset_s, self._clock_error_s = self._clock()
        self._ask("start")

    def stop(self) -> PowerTrace:
        """Stop recording and return it, on this computer's ``time.monotonic``.

        Between its start and stop the clock of the meter's computer may have run faster or
        slower than this one: the times are spread between both comparisons.
        """
        _, content = self._ask("stop")
        offset_s, error_s = self._clock()
        arrays = unpack_named(content)
        shift_s = (self._offset_s + offset_s) / 2
        return PowerTrace(
            self.info,
            arrays["start_s"] - shift_s,
            arrays["end_s"] - shift_s,
            arrays["power_w"],
            arrays["peak_w"],
            marks=tuple((arrays["marks"] - shift_s).tolist()),
            n_dropped=int(arrays["n_dropped"]),
            clock_error_s=max(error_s, self._clock_error_s) + abs(offset_s - self._offset_s),
        )

    def close(self) -> None:
        """End the agent."""
        self._channel.close()

    def _clock(self) -> tuple[float, float]:
        """Return by how much the agent's clock is ahead, and how far that may be wrong.

        Of a few comparisons the quickest tells most.

        References:
            Mills (1991), Internet time synchronization, IEEE Trans. Commun. 39(10),
            Sec. III. doi:10.1109/26.103043
        """
        best = (0.0, float("inf"))
        for _ in range(_PINGS):
            before = time.monotonic()
            there = self._ask("clock")[0]["t_s"]
            after = time.monotonic()
            if (error_s := (after - before) / 2) < best[1]:
                best = (there - (before + after) / 2, error_s)
        return best

    def _ask(self, command: str, **arguments: Any) -> tuple[dict[str, Any], bytes]:
        header, content = self._channel.ask(json.dumps({"command": command, **arguments}).encode())
        if "error" in header:
            raise MeterError(header["error"], header.get("fix", ""))
        return header, content


def _where(info: MeterInfo, spec: MeterSpec) -> MeterInfo:
    """Return what a meter says of itself; rails of other computers are told apart by theirs."""
    place = "" if spec.at == "host" else f"{spec.at.removeprefix('ssh://')}:"
    branch_of = tuple(f"{place}{rail}" for rail in info.branch_of)
    return replace(info, rail=f"{place}{info.rail}", branch_of=branch_of)


class MeterSet:
    """The meters of a target; opened on entering, closed on leaving.

    Args:
        specs: The meters.
        board: Makes a channel to an agent on the board; ``None`` where that is this computer.
    """

    def __init__(
        self, specs: Sequence[MeterSpec], board: Callable[[], Channel | None] = lambda: None
    ) -> None:
        self._specs, self._board = specs, board
        self.links: list[MeterLink] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for number, spec in enumerate(self._specs):
                try:
                    link = MeterLink(self._channel(spec), spec)
                except MeterError as error:
                    raise MeterError(f"meters.{number} ({spec.kind}): {error}", error.fix) from None
                stack.callback(link.close)
                self.links.append(link)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()
        self.links.clear()

    @property
    def infos(self) -> tuple[MeterInfo, ...]:
        """What the meters say of themselves."""
        return tuple(link.info for link in self.links)

    def start(self) -> None:
        """Record from now on."""
        for link in self.links:
            link.start()

    def stop(self) -> list[PowerTrace]:
        """Return what was recorded."""
        return [link.stop() for link in self.links]

    def _channel(self, spec: MeterSpec) -> Channel:
        if spec.ssh is not None:
            return ProcessChannel(f"{spec.kind} on {spec.ssh}", spec.ssh)
        if spec.at == "board" and (channel := self._board()) is not None:
            return channel
        return ProcessChannel(spec.kind)
