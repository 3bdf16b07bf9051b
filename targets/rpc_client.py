"""Sessions on boards, through a process of their own that a watchdog can kill."""

from __future__ import annotations

import json
import weakref
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from targets.child_process import ChildProcess, ProcessEndedError
from targets.meters import MeterError
from targets.meters.shipping import shipment
from targets.npz import Arrays, pack, unpack
from targets.target_errors import DeviceLostError, DeviceRefusedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from targets._types import FailureStage

# loading runs code of the library
_STAGES: dict[str, FailureStage] = {
    "request": "connect",
    "connect": "connect",
    "upload": "upload",
}

# TVM never unloads a library: the server of a session grows by each
_LARGEST_SESSION_BYTES = 32 << 20


@dataclass(frozen=True)
class Endpoint:
    """Where boards of a kind are found.

    Args:
        host: Address of the tracker.
        port: Of the tracker.
        key: Under which the boards register.
        device: Of the board: ``cpu``, ``cuda`` or ``opencl``.
        wait_s: How long to wait for a free board.
    """

    host: str
    port: int
    key: str
    device: str = "cpu"
    wait_s: float = 10.0


class RpcClient:
    """Holds at most one session on a board.

    All methods of it and of its session raise `DeviceRefusedError` where the board
    says what is wrong, and `DeviceLostError` where it is gone.
    """

    def __init__(self) -> None:
        self._processes: list[ChildProcess] = []
        self._address: str | None = None
        self._loaded_bytes = 0
        weakref.finalize(self, _kill_all, self._processes)

    @property
    def process_ids(self) -> dict[str, int]:
        """Process (and group) id of the ``client``, if it runs."""
        running = (process.pid for process in self._processes if process.is_alive)
        return dict(zip(("client",), running, strict=False))

    @property
    def address(self) -> str | None:
        """Of the board on which a session is open, or was being opened when it got lost."""
        return self._address

    def open(
        self,
        endpoint: Endpoint,
        session_timeout_s: float,
        avoid: Collection[str] = (),
        suspects: Collection[str] = (),
    ) -> RpcSession:
        """Return the open session, or open one; one that has grown is opened anew.

        Args:
            endpoint: Where to find a board.
            session_timeout_s: After which the board ends a new session by itself; 0 for never.
            avoid: Addresses of boards not to take.
            suspects: Addresses of boards to take only if no other is free.
        """
        if self._loaded_bytes > _LARGEST_SESSION_BYTES and self.process_ids:
            self.close_session()
        if not self.process_ids:
            self.kill()
            self._processes.append(ChildProcess("targets.rpc_client_process"))
        if self._address is None:
            board, _ = self.ask(
                "request",
                host=endpoint.host,
                port=endpoint.port,
                key=endpoint.key,
                wait_s=endpoint.wait_s,
                avoid=list(avoid),
                suspects=list(suspects),
            )
            self._loaded_bytes = 0
            # known before anything is asked of it: it may not even answer
            self._address = board["address"]
            self.ask("connect", device=endpoint.device, session_timeout_s=session_timeout_s)
        return RpcSession(self)

    def load(self, library: bytes) -> None:
        """Upload a shared library and load it, instead of the one before."""
        self._loaded_bytes += len(library)
        self.ask("upload", library)
        self.ask("load")

    def close_session(self) -> None:
        """Give the board back."""
        if self._address is not None:
            self._address = None
            self.ask("close")

    def interrupt(self) -> None:
        """Kill the process, whatever it waits for: from another thread, whose owner gets told."""
        _kill_all(self._processes)

    def kill(self) -> None:
        """Kill the process and forget the board; `open` starts another."""
        self._address = None
        _kill_all(self._processes)

    def ask(
        self, command: str, content: bytes = b"", **arguments: Any
    ) -> tuple[dict[str, Any], bytes]:
        """Let the process do something."""
        stage = _STAGES.get(command, "run")
        request = {"command": command, "size": len(content), **arguments}
        try:
            (process,) = self._processes
            process.send(json.dumps(request).encode() + b"\n" + content)
            header = json.loads(process.receive_line())
            answer = process.receive(header["size"])
        except (ProcessEndedError, ValueError) as error:  # no process: killed meanwhile
            raise DeviceLostError(stage, error) from None
        if "error" not in header:
            return header, answer
        if header["kind"] in ("refused", "no board"):
            raise DeviceRefusedError(header["error"], stage)
        raise DeviceLostError(stage, header["error"])


class RpcSession:
    """A board for as long as its client keeps it; made by `RpcClient.open`."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    @property
    def address(self) -> str:
        """Address of the board: ``host:port``."""
        return self._client.address or ""

    @property
    def files(self) -> RpcFiles:
        """The board's files."""
        return RpcFiles(self._client)

    def load(self, library: bytes) -> None:
        """Upload a shared library and load it, instead of the one before."""
        self._client.load(library)

    def run(self, inputs: Sequence[NDArray[np.float32]]) -> Arrays:
        """Run the loaded network once and return its outputs."""
        return unpack(self._client.ask("run", pack(inputs))[1])

    def time(self, inputs: Sequence[NDArray[np.float32]], n_inferences: int) -> tuple[float, ...]:
        """Return the seconds each of so many inferences of the loaded network took."""
        header, _ = self._client.ask("time", pack(inputs), n_inferences=n_inferences)
        return tuple(header["latency_s"])

    def loop(
        self, inputs: Sequence[NDArray[np.float32]], n_per_block: int, n_blocks: int
    ) -> tuple[float, ...]:
        """Run inferences without a pause; return their mean time in each block, in seconds."""
        header, _ = self._client.ask(
            "loop", pack(inputs), n_per_block=n_per_block, n_blocks=n_blocks
        )
        return tuple(header["latency_s"])

    def meter_channel(self) -> RpcChannel:
        """Start an agent for a meter of the board."""
        return RpcChannel(self._client)

    def call_kernel(
        self, name: str, inputs: Sequence[NDArray[np.float32]], output_shape: Sequence[int]
    ) -> NDArray[np.float32]:
        """Call a kernel of the loaded library and return its output."""
        arguments = {"name": name, "output_shape": list(output_shape)}
        (output,) = unpack(self._client.ask("call_kernel", pack(inputs), **arguments)[1])
        return output

    def time_kernel(
        self,
        name: str,
        inputs: Sequence[NDArray[np.float32]],
        output_shape: Sequence[int],
        number: int,
        repeat: int,
    ) -> tuple[float, ...]:
        """Return seconds per call, averaged over ``number`` calls, ``repeat`` times."""
        arguments = {"name": name, "output_shape": list(output_shape)}
        header, _ = self._client.ask(
            "time_kernel", pack(inputs), **arguments, number=number, repeat=repeat
        )
        return tuple(header["latency_s"])


class RpcChannel:
    """An agent on the board that reads a meter there: see `targets.meter_link.Channel`.

    Raises:
        MeterError: If the board's server cannot start one.
    """

    def __init__(self, client: RpcClient) -> None:
        self._client = client
        header, _ = self._talk("meter_open", shipment())
        if not header["started"]:
            raise MeterError(
                "the board runs TVM's own server, which cannot read its meters",
                "run hwnas' board_server.py there, or read the meter over SSH: at: ssh://...",
            )
        self._agent: int = header["started"]

    def ask(self, request: bytes) -> tuple[dict[str, Any], bytes]:
        """Return the answer's header and content."""
        _, answer = self._talk("meter_ask", request, agent=self._agent)
        line, _, content = answer.partition(b"\n")
        return json.loads(line), content

    def close(self) -> None:
        """End the agent; with its session it ends anyway."""
        with suppress(MeterError):
            self._talk("meter_close", agent=self._agent)

    def _talk(
        self, command: str, content: bytes = b"", **arguments: Any
    ) -> tuple[dict[str, Any], bytes]:
        try:
            return self._client.ask(command, content, **arguments)
        except DeviceRefusedError as error:
            raise MeterError(f"the board's meter: {error}") from None


class RpcFiles:
    """A board's files; see `targets.device_files.DeviceFiles`."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    def read(self, path: str) -> str | None:
        """Return a file's text without surrounding space; ``None`` where unreadable."""
        text: str | None = self._client.ask("read", path=path)[0]["text"]
        return text

    def write(self, path: str, text: str) -> None:
        """Replace a file's text.

        Raises:
            OSError: The file is missing, or may not be written.
        """
        try:
            self._client.ask("write", text.encode(), path=path)
        except DeviceRefusedError as error:
            raise OSError(f"{path}: {error}") from error


def _kill_all(processes: list[ChildProcess]) -> None:
    while processes:
        processes.pop().kill()
