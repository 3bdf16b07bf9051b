"""Every storage offered, with real servers: workers at once, kills, restarts."""

from __future__ import annotations

import multiprocessing
import re
import sqlite3
import time
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from hwnas.errors import UnreachableError, UserError
from hwnas.storages import open_storage, serve_storage
from hwnas.study_store import StudyStore, read_description
from tests.integration.storage_servers import PostgresServer, ProxyServer, free_port, wait_until
from tests.unit.hwnas.grid_study import (
    FEASIBLE,
    as_told,
    evaluate,
    in_order,
    killed_search,
    open_study,
    search,
)

KINDS = ["journal", "sqlite", "postgresql", "grpc-sqlite", "grpc-postgresql"]
_SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture(params=KINDS)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty storage of each kind."""
    kind = request.param.removeprefix("grpc-")
    if kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        inner = server.new_database(tmp_path.name)
    else:
        inner = str(tmp_path / "study.journal")
        if kind == "sqlite":
            inner = f"sqlite:///{tmp_path / 'study.db'}"
    if kind == request.param:
        yield inner
        return
    proxy = ProxyServer(inner)
    proxy.start()
    yield proxy.url
    proxy.kill()


def stored(location: str) -> list[FrozenTrial]:
    return optuna.load_study(study_name="search", storage=open_storage(location)).trials


def start_worker(
    location: str, wanted: int, told: SimpleQueue[tuple[int, str]], pause_s: float = 0.0
) -> SpawnProcess:
    process = _SPAWN.Process(target=_work, args=(location, wanted, told, pause_s))
    process.start()
    return process


def _work(location: str, wanted: int, told: SimpleQueue[tuple[int, str]], pause_s: float) -> None:
    with open_study(location, lease_s=3.0) as study:
        while study.counts()["evaluated"] < wanted:
            proposal = study.claim(wanted)
            if proposal is None:
                time.sleep(0.05)
                continue
            time.sleep(pause_s)
            if evaluate(study, proposal):
                told.put(as_told([proposal])[0])


def all_told(told: SimpleQueue[tuple[int, str]]) -> list[tuple[int, str]]:
    out = []
    while not told.empty():
        out.append(told.get())
    return out


def assert_whole(location: str, told: list[tuple[int, str]], wanted: int) -> None:
    """What workers were told is complete is in the storage, once each, and nothing else."""
    assert len(told) == len(set(told)) == wanted
    assert len({arch_id for _, arch_id in told}) == wanted
    with open_study(location) as study:
        evaluated = [(e.number, e.architecture.arch_id) for e in study.evaluated()]
        assert sorted(told) == evaluated
        assert study.counts()["running"] == study.counts()["failed"] == 0
    trials = stored(location)
    assert [t.number for t in trials] == list(range(len(trials)))
    assert sum(t.state == TrialState.COMPLETE for t in trials) == wanted
    assert all(t.state.is_finished() for t in trials)


def test_every_storage_proposes_the_same_to_one_worker(location: str, tmp_path: Path) -> None:
    with open_study(tmp_path / "other.journal", "nsga3") as study:
        study.enqueue(in_order(FEASIBLE)[:2])
        expected = as_told(search(study, 8))
    with open_study(location, "nsga3") as study:
        study.enqueue(in_order(FEASIBLE)[:2])
        proposals = search(study, 4)
    with open_study(location, "nsga3") as study:
        proposals += search(study, 8)
        assert as_told(proposals) == expected
        first = study.evaluated()[0]
        assert first.result == {"width": first.architecture["width"], "note": "trained"}


def test_three_workers_at_once_evaluate_what_is_wanted_and_nothing_twice(location: str) -> None:
    told: SimpleQueue[tuple[int, str]] = _SPAWN.SimpleQueue()
    workers = [start_worker(location, 12, told) for _ in range(3)]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert_whole(location, all_told(told), 12)


def test_what_a_killed_worker_left_is_taken_up_under_its_number(location: str) -> None:
    *_, (number, arch_id) = killed_search(location, "random", 1)
    with open_study(location) as study:
        proposals = search(study, 4)
        assert as_told(proposals)[0] == (number, arch_id)
        assert len(study.evaluated()) == 4
        assert study.failures() == []


def test_two_studies_in_one_storage_know_nothing_of_each_other(location: str) -> None:
    with open_study(location) as one, open_study(location, name="other", seed=1) as other:
        told: dict[str, list[tuple[int, str]]] = {"one": [], "other": []}
        for wanted in range(1, 7):
            told["one"] += as_told(search(one, wanted))
            told["other"] += as_told(search(other, wanted))
    for name, study_name, seed in (("one", "search", 0), ("other", "other", 1)):
        with open_study(location, name=study_name, seed=seed) as study:
            evaluated = [(e.number, e.architecture.arch_id) for e in study.evaluated()]
            assert evaluated == told[name]
    with open_study(InMemoryStorage(), seed=1) as alone:
        assert as_told(search(alone, 6)) == told["other"]


def test_a_description_is_read_by_whoever_has_the_location(location: str) -> None:
    text = "\N{GREEK SMALL LETTER MU} " * 3_000_000
    with open_study(location) as study:
        study.describe("plan", text)
        study.announce("wanted", "60")
        assert study.announcement("wanted") == "60"
    assert read_description(open_storage(location), "plan") == text


def test_workers_outlive_a_restart_of_the_database(postgres: PostgresServer) -> None:
    location = postgres.new_database("restarted")
    told: SimpleQueue[tuple[int, str]] = _SPAWN.SimpleQueue()
    workers = [start_worker(location, len(FEASIBLE), told, pause_s=0.3) for _ in range(2)]
    wait_until(lambda: not told.empty(), "no evaluation")
    for _ in range(2):
        postgres.stop()
        time.sleep(0.5)
        postgres.start()
        time.sleep(0.7)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert_whole(location, all_told(told), len(FEASIBLE))


def test_workers_outlive_the_death_of_the_proxy(tmp_path: Path) -> None:
    proxy = ProxyServer(f"sqlite:///{tmp_path / 'study.db'}")
    proxy.start()
    told: SimpleQueue[tuple[int, str]] = _SPAWN.SimpleQueue()
    workers = [start_worker(proxy.url, len(FEASIBLE), told, pause_s=0.3) for _ in range(2)]
    wait_until(lambda: not told.empty(), "no evaluation")
    for _ in range(2):
        proxy.kill()
        time.sleep(0.5)
        proxy.start()
        time.sleep(0.7)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert_whole(proxy.url, all_told(told), len(FEASIBLE))
    proxy.kill()


def test_a_storage_that_stays_away_is_one_line(tmp_path: Path) -> None:
    proxy = ProxyServer(f"sqlite:///{tmp_path / 'study.db'}")
    proxy.start()
    study = open_study(proxy.url, patience_s=0.5)
    proxy.kill()
    with pytest.raises(UnreachableError, match=r"'search' has not answered for 0\.5 s"):
        study.claim(3)
    study.close()


def test_a_database_that_no_waiting_mends_is_one_line_at_once(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    open_study(f"sqlite:///{file}").close()
    read_only = StudyStore(open_storage(f"sqlite:///file:{file}?mode=ro&uri=true"), "search", 60.0)
    assert read_only.find()
    with pytest.raises(UserError, match=r"study 'search' cannot be used \(.*readonly") as caught:
        read_only.announce("key", "text")
    assert caught.value.exit_code == 2
    assert read_only.outages == 0


def test_a_database_that_another_has_locked_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwnas.storages._LOCKED_S", 0.01)
    location = f"sqlite:///{tmp_path / 'study.db'}"
    open_study(location).close()
    store = StudyStore(open_storage(location), "search", 0.2)
    other = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnreachableError, match="has not answered"):
        store.find()
    other.execute("ROLLBACK")
    assert store.find()
    other.close()


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("mysql://host/db", r"no kind of storage is named 'mysql'\. Give a path, "),
        ("grpc://host", "wanted grpc://HOST:PORT"),
        ("grpc://host:many", "wanted grpc://HOST:PORT"),
        ("sqlite:////no/such/folder/x.db", "cannot be opened"),
        ("/no/such/folder/x.journal", "No such file or directory"),
    ],
)
def test_a_location_that_cannot_be_opened_is_one_line(location: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        open_storage(location)
    assert caught.value.exit_code == 2


def test_a_database_server_that_is_not_there_is_one_line_without_the_password() -> None:
    url = f"postgresql://me:hush@127.0.0.1:{free_port()}/db"
    with pytest.raises(UnreachableError, match=r"postgresql://me:\*\*\*@127.*refused") as caught:
        open_storage(url)
    assert "hush" not in str(caught.value)


def test_a_wrong_password_is_one_line_without_it(postgres: PostgresServer) -> None:
    with pytest.raises(UserError, match="refuses this user or password") as caught:
        open_storage(postgres.url(password="hush"))
    assert caught.value.exit_code == 2
    assert not re.search("hush|secret", str(caught.value))


def test_a_database_that_does_not_exist_is_one_line(postgres: PostgresServer) -> None:
    with pytest.raises(UserError, match=r'database "nowhere" does not exist.*createdb'):
        open_storage(postgres.url("nowhere"))


def test_a_proxy_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.storages._CONNECT_S", 0.2)
    with pytest.raises(UnreachableError, match="no answer within"):
        open_storage(f"grpc://127.0.0.1:{free_port()}")


def test_only_databases_are_served(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="wanted sqlite"):
        serve_storage(str(tmp_path / "study.journal"))


def test_serving_on_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    proxy = ProxyServer(f"sqlite:///{tmp_path / 'study.db'}")
    proxy.start()
    with pytest.raises(UserError, match=f"127.0.0.1:{proxy.port}: cannot listen"):
        serve_storage(f"sqlite:///{tmp_path / 'study.db'}", port=proxy.port)
    proxy.kill()
