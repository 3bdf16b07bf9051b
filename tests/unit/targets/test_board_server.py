import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from targets.board_server import read_file, remove_leftovers


def test_uploads_of_a_server_that_was_killed_are_removed_and_a_living_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f"hwnas-session-{ended.pid}-abc"
    in_use = tmp_path / f"hwnas-session-{os.getpid()}-def"
    foreign = tmp_path / "hwnas-session-notes-ghi"
    for folder in (left, in_use, foreign):
        (folder / "uploads").mkdir(parents=True)
    remove_leftovers()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((in_use.name, foreign.name))


def test_a_file_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("1800000\n")
    assert read_file(str(tmp_path / "clock")) == "1800000"
    assert read_file(str(tmp_path / "missing")) is None
