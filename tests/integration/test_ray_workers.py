"""Workers that a Ray cluster places: one that is started here."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hwnas.config import RayConfig, load_config
from hwnas.errors import UnreachableError, UserError
from hwnas.ray_workers import RayWorkers

if TYPE_CHECKING:
    from conftest import TinySearch


@pytest.fixture(autouse=True)
def _ray() -> None:
    if importlib.util.find_spec("ray") is None:
        if os.environ.get("HWNAS_REQUIRE_ALL"):
            pytest.fail("Ray is missing: pip install 'hwnas[ray]'")
        pytest.skip("needs Ray: pip install 'hwnas[ray]'")


def test_a_search_on_a_ray_cluster_spends_its_budget(tiny: TinySearch, tmp_path: Path) -> None:
    run = tiny.search(
        tmp_path,
        "search.ray={workers: 2, cpus_per_worker: 0.5}",
        f"search.storage=sqlite:///{tmp_path}/studies.db",
    )
    evaluations = run.front()["evaluations"]
    assert len({e["arch_id"] for e in evaluations}) == len(evaluations) == 6


def test_a_cluster_that_is_not_there_is_named(tiny: TinySearch, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match=r"search\.ray\.address: no cluster at '127"):
        tiny.search(
            tmp_path,
            "search.ray={workers: 2, address: '127.0.0.1:9'}",
            f"search.storage=sqlite:///{tmp_path}/studies.db",
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cpus_per_worker": 1e-5}, "fractional quantity of resource num_cpus"),
        ({"gpus_per_worker": 1000}, r"each needs 1 CPUs and 1000 GPUs of one node\. Nodes have "),
    ],
)
def test_workers_that_ray_could_never_place_are_one_line(
    settings: dict[str, float], message: str, tmp_path: Path
) -> None:
    import ray

    url = f"sqlite:///{tmp_path}/studies.db"
    with pytest.raises(UserError, match=rf"^search\.ray: no worker can be placed: .*{message}"):
        RayWorkers(url, "tiny", RayConfig.model_validate(settings))
    assert not ray.is_initialized()


def test_a_cluster_needs_a_storage_that_its_nodes_reach(tiny: TinySearch) -> None:
    with pytest.raises(UserError, match=r"search\.ray: needs search\.storage, a URL"):
        load_config(tiny.experiment, ["search.ray={workers: 2}"])
