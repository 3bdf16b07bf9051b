"""Leases and processes: who is dead, and since when that is known."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from hwnas.leases import LeaseKeeper, LeaseWatch
from hwnas.study_store import StudyStore
from hwnas.worker_process import WorkerProcess
from tests.unit.hwnas.grid_study import as_told, evaluate, killed_search, open_study, search


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_lease_expires_once_it_was_seen_unchanged_for_its_time() -> None:
    clock = Clock()
    watch = LeaseWatch(60.0, clock)
    assert watch.expired([(1, 5), (2, 0)]) == set()
    clock.now_s += 59
    assert watch.expired([(1, 5), (2, 0)]) == set()
    clock.now_s += 1
    assert watch.expired([(1, 6), (2, 0)]) == {2}
    clock.now_s += 59.5
    assert watch.expired([(1, 6)]) == set()
    clock.now_s += 1
    assert watch.expired([(1, 6)]) == {1}


def test_a_lease_first_seen_late_has_its_whole_time() -> None:
    clock = Clock()
    watch = LeaseWatch(60.0, clock)
    watch.expired([(1, 0)])
    clock.now_s += 600
    assert watch.expired([(2, 0)]) == set()


def test_what_could_not_be_renewed_while_the_storage_was_away_has_not_expired() -> None:
    clock = Clock()
    watch = LeaseWatch(60.0, clock)
    watch.expired([(1, 0)], outages=0)
    clock.now_s += 600
    assert watch.expired([(1, 0)], outages=3) == set()
    clock.now_s += 60
    assert watch.expired([(1, 0)], outages=3) == {1}


class FullOnce(InMemoryStorage):
    """Has no room for the first renewal of a lease."""

    def __init__(self) -> None:
        super().__init__()
        self._refused = False
        self.renewed = threading.Event()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        if not self._refused:
            self._refused = True
            raise OSError(errno.ENOSPC, "No space left on device")
        super().set_trial_user_attr(trial_id, key, value)
        self.renewed.set()


def test_a_lease_that_could_not_be_renewed_once_is_renewed_the_next_time() -> None:
    storage = FullOnce()
    store = StudyStore(storage, "search", 1.0)
    store.open(["maximize"])
    store.create(TrialState.RUNNING, "any", 0)
    keeper = LeaseKeeper(store, 0.03)
    keeper.hold(0)
    try:
        assert storage.renewed.wait(30.0)
    finally:
        keeper.close()


def test_this_process_is_not_dead() -> None:
    process = WorkerProcess.current()
    assert not process.is_known_dead()
    assert WorkerProcess.from_dict(process.to_dict()) == process


def test_a_number_used_again_is_another_process() -> None:
    process = WorkerProcess.current()
    assert replace(process, started=process.started - 1).is_known_dead()


def test_nothing_is_known_of_a_process_on_another_host_or_in_another_container() -> None:
    gone = replace(WorkerProcess.current(), pid=2**22 + 1)
    assert gone.is_known_dead()
    assert not replace(gone, kernel="another boot pid:[1]").is_known_dead()
    assert not replace(gone, kernel="").is_known_dead()


def test_a_killed_process_is_dead_before_its_parent_has_asked_for_it() -> None:
    code = (
        "import json, sys; from hwnas.worker_process import WorkerProcess;"
        "print(json.dumps(WorkerProcess.current().to_dict()), flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    process = WorkerProcess.from_dict(json.loads(child.stdout.readline()))
    assert process.pid == child.pid
    assert not process.is_known_dead()
    child.kill()
    # not waited for: it stays in the table
    while not process.is_known_dead():
        time.sleep(0.01)
    child.communicate()
    assert process.is_known_dead()


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "study.journal"


def other_hosts_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have studies opened from now on say that they run elsewhere."""
    elsewhere = replace(WorkerProcess.current(), host="elsewhere", kernel="another")
    monkeypatch.setattr(WorkerProcess, "current", classmethod(lambda _: elsewhere))


def test_a_worker_elsewhere_that_falls_silent_loses_its_evaluation_and_is_told(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_study(journal) as taker:
        other_hosts_process(monkeypatch)
        silent = open_study(journal)
        lost = silent.claim(2)
        assert lost is not None
        # its thread is gone: as of a machine that is switched off
        silent._claims._keeper.close()
        taker._claims._watch = LeaseWatch(0.5)
        search(taker, 2)
        assert taker.counts()["evaluated"] == 1
        assert taker.claim(2) is None
        taken = None
        while taken is None:
            time.sleep(0.05)
            taken = taker.claim(2)
        assert (taken.number, taken.architecture) == (lost.number, lost.architecture)
        assert taken.trial_id != lost.trial_id
        # the zombie comes back
        assert evaluate(silent, lost) is False
        assert evaluate(taker, taken) is True
        assert [e.number for e in taker.evaluated()] == sorted(
            {lost.number, *(e.number for e in taker.evaluated())}
        )
        assert taker.counts()["evaluated"] == 2
        silent.close()


def test_a_worker_killed_elsewhere_loses_its_evaluation_once_its_lease_has_run_out(
    journal: Path,
) -> None:
    *_, left = killed_search(journal, "random", 1, is_elsewhere=True, lease_s=1.0)
    with open_study(journal, lease_s=1.0) as study:
        began = time.monotonic()
        while (proposal := study.claim(2)) is None:
            time.sleep(0.02)
        # not earlier: it might have been alive
        assert time.monotonic() - began >= 1.0
        assert as_told([proposal]) == [left]
        assert evaluate(study, proposal)
        assert study.counts()["evaluated"] == 2


def test_a_worker_elsewhere_that_works_longer_than_its_lease_keeps_its_evaluation(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # renewed every second: a busy machine would have to stall it for 3
    with open_study(journal, lease_s=3.0) as taker:
        other_hosts_process(monkeypatch)
        with open_study(journal, lease_s=3.0) as slow:
            proposal = slow.claim(1)
            assert proposal is not None
            end = time.monotonic() + 7.0
            while time.monotonic() < end:
                assert taker.claim(1) is None
                time.sleep(0.1)
            assert evaluate(slow, proposal) is True
        assert taker.counts()["evaluated"] == 1
