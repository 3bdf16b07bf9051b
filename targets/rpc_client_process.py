"""What talks to a board, in a process that can be killed: ``python -m targets.rpc_client_process``.

A board that hangs blocks TVM's RPC client for good, and nothing but the end of its
process ends that. A request is a line of JSON on standard input, and so is the answer
on standard output; content follows each, of the stated size. The process ends when its
standard input closes.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from targets.board_server import (
    METER_ASK,
    METER_CLOSE,
    METER_OPEN,
    READ_FILE,
    use_runtime_only,
)
from targets.meters.shipping import BOOTSTRAP
from targets.npz import pack, unpack
from targets.rpc_tracker import Board, NoBoardError, Tracker
from targets.target_errors import last_line

Arrays: TypeAlias = "tuple[NDArray[np.float32], ...]"
_DOWNLOAD = "tvm.rpc.server.download"
_RPC_DEVICES = {"cpu": "cpu", "cuda": "cuda", "opencl": "cl"}


class _Client:
    """Serves requests; keeps a session and the last library loaded in it."""

    def __init__(self) -> None:
        self._board: Board | None = None
        self._session: Any = None
        self._device: Any = None
        self._library: Any = None
        self._machine: Any = None
        self._name = ""
        self._read_file: Any = None
        self._can_download = False
        self._numbers = itertools.count()

    def request(self, request: dict[str, Any], _: bytes) -> dict[str, Any]:
        """Let a tracker promise a board."""
        tracker = Tracker(request["host"], request["port"])
        try:
            self._board = _choose(tracker, request)
        finally:
            tracker.close()
        return {"address": self._board.address}

    def connect(self, request: dict[str, Any], _: bytes) -> dict[str, Any]:
        """Open a session on the board that was promised."""
        from tvm import rpc

        if self._board is None:
            raise RuntimeError("no board was promised")
        self._session = rpc.connect(
            self._board.host,
            self._board.port,
            self._board.match_key,
            request["session_timeout_s"],
        )
        self._device = getattr(self._session, _RPC_DEVICES[request["device"]])(0)
        self._read_file = self._function(READ_FILE)
        self._can_download = self._function(_DOWNLOAD) is not None
        return {}

    def close(self, _: dict[str, Any], __: bytes) -> dict[str, Any]:
        """Give the board back."""
        self._machine = self._library = self._read_file = None
        self._device = self._session = self._board = None
        self._name = ""
        return {}

    def upload(self, _: dict[str, Any], library: bytes) -> dict[str, Any]:
        """Upload a shared library; the one before is unloaded.

        TVM's servers do not notice a full disk. What arrived is read back, because a
        library that lost its end may load, and compute with weights that are zero.
        """
        self._machine = self._library = None
        if self._name:
            self._session.remove(self._name)
        # loaders keep a library of a known name: each gets its own
        self._name = f"library{next(self._numbers)}.so"
        self._session.upload(bytearray(library), target=self._name)
        if self._can_download and bytes(self._session.download(self._name)) != library:
            raise OSError("what was uploaded did not arrive whole: is the board's disk full?")
        return {}

    def load(self, _: dict[str, Any], __: bytes) -> dict[str, Any]:
        """Load what was uploaded."""
        self._library = self._session.load_module(self._name)
        return {}

    def run(self, _: dict[str, Any], arrays: bytes) -> Arrays:
        """Run the loaded network once."""
        self._set_inputs(unpack(arrays))
        self._machine.invoke_stateful("main")
        # not VirtualMachine.get_outputs: its reference cycle would keep the session open
        get_output = self._machine.module["get_output"]
        n_outputs = int(self._machine.module["get_output_arity"]("main"))
        indices: list[tuple[int, ...]] = [()] if n_outputs < 0 else [(i,) for i in range(n_outputs)]
        return tuple(np.asarray(get_output("main", *i).numpy()) for i in indices)

    def time(self, request: dict[str, Any], arrays: bytes) -> dict[str, Any]:
        """Time the loaded network, one inference at a time."""
        self._set_inputs(unpack(arrays))
        evaluate = self._machine.time_evaluator(
            "invoke_stateful", self._device, number=1, repeat=int(request["n_inferences"])
        )
        return {"latency_s": [float(seconds) for seconds in evaluate("main").results]}

    def loop(self, request: dict[str, Any], arrays: bytes) -> dict[str, Any]:
        """Run the loaded network without a pause; return the mean time in each block."""
        self._set_inputs(unpack(arrays))
        evaluate = self._machine.time_evaluator(
            "invoke_stateful",
            self._device,
            number=int(request["n_per_block"]),
            repeat=int(request["n_blocks"]),
        )
        return {"latency_s": [float(seconds) for seconds in evaluate("main").results]}

    def meter_open(self, _: dict[str, Any], shipment: bytes) -> dict[str, Any]:
        """Start an agent on the board; 0 where its server has no such function."""
        function = self._function(METER_OPEN)
        return {"started": 0 if function is None else int(function(BOOTSTRAP, shipment))}

    def meter_ask(self, request: dict[str, Any], content: bytes) -> bytes:
        """Pass a request to an agent on the board."""
        return bytes(self._function(METER_ASK)(int(request["agent"]), content))

    def meter_close(self, request: dict[str, Any], _: bytes) -> dict[str, Any]:
        """End an agent on the board."""
        self._function(METER_CLOSE)(int(request["agent"]))
        return {}

    def call_kernel(self, request: dict[str, Any], arrays: bytes) -> Arrays:
        """Call a kernel of the loaded library once."""
        tensors = self._tensors(unpack(arrays), request["output_shape"])
        self._library[request["name"]](*tensors)
        return (np.asarray(tensors[-1].numpy()),)

    def time_kernel(self, request: dict[str, Any], arrays: bytes) -> dict[str, Any]:
        """Time a kernel of the loaded library."""
        tensors = self._tensors(unpack(arrays), request["output_shape"])
        evaluate = self._library.time_evaluator(
            request["name"], self._device, number=request["number"], repeat=request["repeat"]
        )
        return {"latency_s": [float(seconds) for seconds in evaluate(*tensors).results]}

    def read(self, request: dict[str, Any], _: bytes) -> dict[str, Any]:
        """Read a text file of the board; ``None`` where it cannot be read."""
        from tvm.error import RPCError

        try:
            if self._read_file is not None:
                return {"text": self._read_file(request["path"])}
            # a file in sysfs says it has the size of a page: the rest is zeros. TVM's
            # own server cannot read /proc, whose files say they are empty.
            content = bytes(self._session.download(request["path"])).rstrip(b"\0")
        except RPCError:
            return {"text": None}
        return {"text": content.decode(errors="replace").strip()}

    def write(self, request: dict[str, Any], content: bytes) -> dict[str, Any]:
        """Write a text file of the board."""
        self._session.upload(bytearray(content), target=request["path"])
        return {}

    def _function(self, name: str) -> Any:
        from tvm.error import RPCError

        try:
            return self._session.get_function(name)
        except (RPCError, AttributeError):
            return None

    def _set_inputs(self, inputs: Arrays) -> None:
        from tvm.runtime.vm import VirtualMachine

        if self._machine is None:
            self._machine = VirtualMachine(self._library, self._device)
        self._machine.set_input("main", *self._tensors(inputs))

    def _tensors(self, arrays: Arrays, output_shape: list[int] | None = None) -> list[Any]:
        import tvm

        zeros = [] if output_shape is None else [np.zeros(output_shape, np.float32)]
        return [
            tvm.runtime.tensor(np.ascontiguousarray(x), self._device) for x in (*arrays, *zeros)
        ]


def _choose(tracker: Tracker, request: dict[str, Any]) -> Board:
    """Return a board that is not to be avoided, a suspect only if no other is free.

    Boards promised and not used become free again by themselves, in seconds.
    """
    key, avoid, suspects = request["key"], set(request["avoid"]), set(request["suspects"])
    end = time.monotonic() + request["wait_s"]
    while True:
        boards = tracker.boards(key)
        if boards and avoid.issuperset(boards):
            raise NoBoardError(
                f"every board with key {key!r} on tracker {tracker.address} failed "
                f"repeatedly and is in quarantine: {', '.join(boards)}. Restart their servers"
            )
        board = tracker.request(key, max(0.0, end - time.monotonic()))
        if board.address in suspects:
            board = _another_free_now(tracker, key, avoid | suspects) or board
        if board.address not in avoid:
            return board


def _another_free_now(tracker: Tracker, key: str, unwanted: set[str]) -> Board | None:
    try:
        while (board := tracker.request(key, 0.0)).address in unwanted:
            pass
    except NoBoardError:
        return None
    return board


def _answer(handle: Callable[..., Any], request: dict[str, Any], content: bytes) -> bytes:
    from tvm.error import RPCError

    try:
        result = handle(request, content)
    except NoBoardError as error:
        header, arrays = {"error": str(error), "kind": "no board"}, b""
    except RPCError as error:  # the server lives and passes on what was raised there
        header, arrays = {"error": last_line(error), "kind": "refused"}, b""
    except (RuntimeError, OSError) as error:  # the connection is closed, or never was
        header, arrays = {"error": last_line(error), "kind": "lost"}, b""
    else:
        header, arrays = _packed(result)
    return json.dumps({**header, "size": len(arrays)}).encode() + b"\n" + arrays


def _packed(result: dict[str, Any] | Arrays | bytes) -> tuple[dict[str, Any], bytes]:
    if isinstance(result, bytes):
        return {}, result
    return ({}, pack(result)) if isinstance(result, tuple) else (result, b"")


def main() -> None:
    """Answer requests until standard input closes."""
    use_runtime_only()
    client = _Client()
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        content = sys.stdin.buffer.read(request["size"])
        handle = getattr(client, request["command"])
        sys.stdout.buffer.write(_answer(handle, request, content))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
