"""A search goes through all that can go wrong at once, and nothing is lost or done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import yaml

from hwnas.run_folder import RunFolder
from tests.integration.board_rack import Rack, board_file, wait_until
from tests.integration.conftest import EXPERIMENT
from tests.integration.storage_servers import PostgresServer

EVALUATIONS = 60
_TIMEOUT_S = 300.0


class Chaos:
    """One search with three workers, on a board behind a tracker, with its study on a server."""

    def __init__(self, folder: Path, rack: Rack, server: PostgresServer) -> None:
        self.folder, self.rack, self.server = folder, rack, server
        self.run = RunFolder(folder / "runs" / "chaos")
        document = yaml.safe_load(EXPERIMENT)
        document["name"] = "chaos"
        document["target"] = str(board_file(folder, rack.port, wait_s=60))
        # 96 architectures
        document["space"]["choices"] |= {"width": [8, 12, 16], "expansion": [1, 2], "se": [0, 1]}
        document["space"]["choices"] |= {"activation": ["relu6", "hard_swish"]}
        document["search"] = {
            "evaluations": EVALUATIONS,
            "storage": server.url(),
            "lease_s": 5,
            "warm_start": 8,
        }
        self.experiment = folder / "chaos.yaml"
        self.experiment.write_text(yaml.safe_dump(document))
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = ["search", str(self.experiment), "--workers", "3", *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hwnas", *command],
            cwd=self.folder,
            env=os.environ | {"HWNAS_CACHE": str(self.folder / "cache")},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self.process

    def until(self, condition: Callable[[], bool]) -> None:
        process = self.process
        assert process is not None

        def ended_or_met() -> bool:
            return process.poll() is not None or condition()

        assert wait_until(ended_or_met, _TIMEOUT_S)
        assert process.poll() is None, process.communicate()[1]

    def complete(self) -> int:
        return self.states().count("COMPLETE")

    def states(self) -> list[str]:
        """Of all trials, by SQL; none before the search has made its tables."""
        with psycopg.connect(self.server.url()) as connection:
            try:
                return [state for (state,) in connection.execute("SELECT state FROM trials")]
            except psycopg.errors.UndefinedTable:
                return []

    def kill_a_worker(self) -> None:
        assert self.process is not None
        workers = [
            child
            for child in psutil.Process(self.process.pid).children()
            if "--multiprocessing-fork" in child.cmdline()
        ]
        workers[0].kill()


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.remove()


def test_a_search_survives_its_workers_storage_board_and_user(
    rack: Rack, postgres: PostgresServer, tmp_path: Path
) -> None:
    rack.add_board()
    chaos = Chaos(tmp_path, rack, postgres)
    first = chaos.start()
    for done in (5, 15):
        chaos.until(lambda done=done: chaos.complete() >= done)  # type: ignore[misc]
        chaos.kill_a_worker()
    chaos.until(lambda: chaos.complete() >= 25)
    postgres.stop()
    time.sleep(1)
    postgres.start()
    chaos.until(lambda: chaos.complete() >= 35)
    os.killpg(first.pid, signal.SIGINT)
    errors = first.communicate(timeout=_TIMEOUT_S)[1]
    assert first.returncode == 130, errors
    assert chaos.complete() < EVALUATIONS

    second = chaos.start("--resume")
    chaos.until(lambda: chaos.complete() >= EVALUATIONS)
    measured = chaos.run.measurements.read_text().count('"phase": "front"')
    os.killpg(rack.boards[0].pid, signal.SIGKILL)
    assert wait_until(lambda: not rack.addresses())
    rack.add_board()
    errors = second.communicate(timeout=_TIMEOUT_S)[1]
    assert second.returncode == 0, errors
    assert "failed" not in errors, errors
    assert measured < len(chaos.run.front()["candidates"])

    evaluations: list[Any] = chaos.run.front()["evaluations"]
    assert len(evaluations) == EVALUATIONS
    assert len({e["arch_id"] for e in evaluations}) == EVALUATIONS
    assert chaos.run.front()["counts"]["failed"] == 0
    states = chaos.states()
    assert states.count("COMPLETE") == EVALUATIONS
    assert "RUNNING" not in states
    # claims that lost a race are given back; were they many, workers would wait for each other
    assert len(states) < 2 * EVALUATIONS
