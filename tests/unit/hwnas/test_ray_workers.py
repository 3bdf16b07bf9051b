"""Workers on a cluster that die are replaced, as long as evaluations end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from hwnas.config import RayConfig
from hwnas.errors import UserError
from hwnas.ray_workers import RayWorkers


class DeathError(Exception):
    """As Ray raises it."""


class Cluster:
    """A cluster whose workers die at once."""

    exceptions = SimpleNamespace(RayError=DeathError)

    def init(self, **_: object) -> None: ...

    def shutdown(self) -> None: ...

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 1.0}}]

    def cancel(self, task: object, *, force: bool) -> None: ...

    def remote(self, **_: object) -> Callable[[object], Any]:
        return lambda work: SimpleNamespace(remote=lambda url, name: object())

    def wait(self, tasks: list[object], **_: object) -> tuple[list[object], list[object]]:
        return tasks, []

    def get(self, task: object) -> None:
        raise DeathError("out of memory")


@pytest.fixture(autouse=True)
def _cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", Cluster())


def test_any_number_of_architectures_may_kill_their_workers() -> None:
    with RayWorkers("", "", RayConfig(workers=2)) as workers:
        for deaths in range(100):
            assert workers.check(ended=deaths // 3)


def test_a_search_whose_workers_only_die_ends_with_what_to_do() -> None:
    with (
        RayWorkers("", "", RayConfig(workers=2)) as workers,
        pytest.raises(UserError, match=r"died in a row, .* --resume; .* out of memory"),
    ):
        all(workers.check(ended=7) for _ in range(100))


def test_a_cluster_elsewhere_may_start_nodes_on_demand() -> None:
    with RayWorkers("", "", RayConfig(address="auto", gpus_per_worker=1)) as workers:
        assert workers.awaited.startswith(
            "each needs 1 CPUs and 1 GPUs of one node. Nodes have 1/0."
        )
    with RayWorkers("", "", RayConfig(address="auto")) as workers:
        assert workers.awaited == ""
