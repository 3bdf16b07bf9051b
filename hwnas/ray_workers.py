"""Workers of one search that a Ray cluster places, on its GPUs where they are asked for."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from hwnas.errors import UnreachableError, UserError
from hwnas.local_workers import Deaths, work

if TYPE_CHECKING:
    from hwnas.config import RayConfig

# a cluster takes a connection within
_ANSWER_S = 10.0


class RayWorkers:
    """So many Ray tasks that evaluate candidates until nothing is left to do.

    Each is what ``hwnas worker`` is; Ray only chooses where it runs. One that dies, maybe with
    its node, is replaced: what it was evaluating is taken up again. Every node needs hwnas,
    the data set, and the storage's address.

    Args:
        url: Storage of the study.
        study_name: Of the study in the storage.
        settings: Which cluster, how many workers, and what each needs of it.

    Attributes:
        awaited: Why no node has room for a worker yet: a cluster may start larger ones on demand.

    Raises:
        UserError: If Ray is not installed, refuses the settings, or has no node for a worker.
        UnreachableError: If the cluster does not answer.
    """

    def __init__(self, url: str, study_name: str, settings: RayConfig) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("search.ray: needs Ray. Run: pip install 'hwnas[ray]'") from None
        self._ray: Any = ray
        _require_answer(settings.address)
        try:
            ray.init(address=settings.address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster(settings.address, error) from None
        self._deaths = Deaths(settings.workers)
        self._running: list[Any] = []
        try:
            self.awaited = _lacking(self._ray.nodes(), settings)
            if self.awaited and settings.address is None:
                raise ValueError(self.awaited)  # what was started here does not grow
            remote = ray.remote(
                num_cpus=settings.cpus_per_worker, num_gpus=settings.gpus_per_worker, max_retries=0
            )(work)
            self._start = partial(remote.remote, url, study_name)
            self._running += [self._start() for _ in range(settings.workers)]
        except ValueError as error:
            self.stop()
            reason = str(error).partition("\n")[0]
            raise UserError(f"search.ray: no worker can be placed: {reason}") from None

    def check(self, ended: int) -> bool:
        """Replace workers that died; return whether any is at work.

        Args:
            ended: How many evaluations of the study have ended.

        Raises:
            UserError, UnreachableError: As a worker raised it, or if workers die again and
                again, and no evaluation ends.
            OSError: If a worker's disk is full.
            RuntimeError: With a worker's traceback.
        """
        over, self._running = self._ray.wait(
            self._running, num_returns=len(self._running), timeout=0
        )
        for task in over:
            try:
                error = self._ray.get(task)
            except self._ray.exceptions.RayError as death:
                self._replace(death, ended)
                continue
            if error is not None:
                raise error
        return bool(self._running)

    def stop(self) -> None:
        """Kill them all; what they were evaluating is taken up when the search goes on."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        self._running.clear()
        self._ray.shutdown()

    def _replace(self, death: Exception, ended: int) -> None:
        if self._deaths.are_too_many(ended):
            raise UserError(
                f"{self._deaths.count} workers on the cluster died in a row, and no evaluation "
                f"ended. Go on with --resume; the last died of: {death}"
            )
        self._running.append(self._start())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _require_answer(address: str | None) -> None:
    """Raise at once where nobody listens: Ray itself goes on trying for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # of another kind than HOST:PORT: Ray knows it or says so
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except OSError as error:
        raise _no_cluster(address, error) from None


def _lacking(nodes: Sequence[Mapping[str, Any]], settings: RayConfig) -> str:
    """Return why no node has room for a worker; nothing where one has."""
    needs = {"CPU": settings.cpus_per_worker, "GPU": settings.gpus_per_worker}
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(node.get(kind, 0) >= need for kind, need in needs.items()) for node in alive):
        return ""
    found = ", ".join(f"{node.get('CPU', 0):g}/{node.get('GPU', 0):g}" for node in alive)
    return (
        f"each needs {needs['CPU']:g} CPUs and {needs['GPU']:g} GPUs of one node. Nodes have "
        f"{found or 'none'}. Lower cpus_per_worker or gpus_per_worker, or start a larger node."
    )


def _no_cluster(address: str | None, error: Exception) -> UnreachableError:
    reason = str(error).partition("\n")[0]
    return UnreachableError(
        f"search.ray.address: no cluster at {address!r} ({reason}). Check: ray status"
    )
