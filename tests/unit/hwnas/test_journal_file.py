"""The journal file: appended by many processes, any of which may be killed at any byte."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from hwnas.errors import UserError
from hwnas.journal_file import FileStorage, JournalFile
from hwnas.storages import open_storage
from tests.unit.hwnas.grid_study import as_told, open_study, search

_SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.journal"


def numbered(*numbers: int) -> list[dict[str, int]]:
    return [{"n": n} for n in numbers]


def test_what_was_appended_is_read_from_any_line_on(path: Path) -> None:
    journal, other = JournalFile(path), JournalFile(path)
    journal.append_logs(numbered(0, 1, 2))
    assert other.read_logs(1) == numbered(1, 2)
    journal.append_logs(numbered(3))
    assert other.read_logs(3) == numbered(3)
    assert other.read_logs(4) == []
    assert other.read_logs(0) == numbered(0, 1, 2, 3)


def test_what_a_trial_knows_of_an_earlier_one_is_read_of_that_one_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker ends the one and begins the other between two reads."""
    writer, reader = (FileStorage(JournalFile(path)) for _ in range(2))
    study = writer.create_new_study([StudyDirection.MINIMIZE])
    first = writer.create_new_trial(study, create_trial(state=TrialState.RUNNING))
    look_up = reader.get_trial_id_from_study_id_trial_number

    def meanwhile(study_id: int, number: int) -> int:
        if number == 1:
            writer.set_trial_state_values(first, TrialState.COMPLETE, [0.5])
            writer.create_new_trial(study, create_trial(state=TrialState.RUNNING))
        return look_up(study_id, number)

    monkeypatch.setattr(reader, "get_trial_id_from_study_id_trial_number", meanwhile)
    states = [trial.state for trial in reader.changed_trials(study, [first], [first])]
    assert states == [TrialState.COMPLETE, TrialState.RUNNING]


def test_optuna_reads_the_same_lines(path: Path) -> None:
    JournalFile(path).append_logs([{"text": "\N{GREEK SMALL LETTER MU}\u2028", "n": 1}, {"n": 2}])
    assert list(JournalFileBackend(str(path)).read_logs(0)) == JournalFile(path).read_logs(0)


@given(cut=st.integers(1, 200), sizes=st.lists(st.integers(0, 150), min_size=1, max_size=4))
def test_a_line_cut_at_any_byte_never_happened(
    tmp_path_factory: pytest.TempPathFactory, cut: int, sizes: list[int]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "study.journal"
    reader, whole = JournalFile(path), [{"x": "y" * size} for size in sizes]
    JournalFile(path).append_logs(whole)
    content = path.read_bytes()
    path.write_bytes(content[: max(0, len(content) - cut)])
    # a line is whole if and only if its line feed is there
    kept, end = [], 0
    for log in whole:
        end += len(json.dumps(log, separators=(",", ":"))) + 1
        if end <= len(content) - cut:
            kept.append(log)
    assert reader.read_logs(0) == kept
    JournalFile(path).append_logs([{"after": 1}])
    assert reader.read_logs(len(kept)) == [{"after": 1}]
    assert JournalFile(path).read_logs(0) == [*kept, {"after": 1}]


def _die_while_appending(path: Path, limit: int) -> None:
    # the kernel ends the write at that size, then the process
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    JournalFile(path).append_logs([{"x": "y" * 5000}])


def _append(path: Path, worker: int, n: int) -> None:
    journal = JournalFile(path)
    for i in range(n):
        journal.append_logs([{"worker": worker, "i": i, "x": "y" * (37 * i % 400)}])


def test_a_process_killed_in_mid_append_stops_nobody_and_leaves_nothing(path: Path) -> None:
    """It dies with the lock held and half a line written; the others write meanwhile."""
    JournalFile(path).append_logs(numbered(0))
    others = [_SPAWN.Process(target=_append, args=(path, i, 40)) for i in range(2)]
    victim = _SPAWN.Process(target=_die_while_appending, args=(path, path.stat().st_size + 1000))
    victim.start()
    victim.join()
    assert victim.exitcode == -signal.SIGXFSZ
    assert path.read_bytes().endswith(b"y")
    for process in others:
        process.start()
    for process in others:
        process.join()
    first, *logs = JournalFile(path).read_logs(0)
    assert first == {"n": 0}
    for worker in range(2):
        assert [log["i"] for log in logs if log["worker"] == worker] == list(range(40))
    assert len(logs) == 80


def test_every_result_is_on_the_disk_before_the_next_claim(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), fsync(file)))
    with open_study(path) as study:
        for n in range(1, 4):
            search(study, n)
            assert len(synced) == n


def test_a_study_whose_last_line_is_torn_goes_on_as_if_it_had_not_been_written(path: Path) -> None:
    with open_study(path, "tpe") as study:
        expected = as_told(search(study, 8))
    whole = path.read_bytes()
    for torn in (1, 30, len(whole.splitlines()[-1])):
        path.write_bytes(whole[:-torn])
        with open_study(path, "tpe") as study:
            # its values were the last line: it is running, and its process, this one, lives
            assert [e.number for e in study.evaluated()] == [number for number, _ in expected[:-1]]
        with open_study(path, "tpe") as study:
            assert study.counts()["running"] == 1


def test_a_journal_damaged_elsewhere_is_refused_in_one_line(path: Path) -> None:
    with open_study(path) as study:
        search(study, 2)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] = ord("\n")
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"study\.journal: damaged .*another name"):
        open_storage(str(path))


def test_another_file_is_refused_in_one_line(path: Path) -> None:
    path.write_text('{"schema_version": 1}\n')
    with pytest.raises(UserError, match="damaged"):
        open_storage(str(path))
