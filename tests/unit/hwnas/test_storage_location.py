"""Locations of storages mean the same from every folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.errors import UserError
from hwnas.search_study import location_of
from hwnas.storage_location import absolute_location

BASE = Path("/experiments/kws")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("study.journal", "journal:///experiments/kws/study.journal"),
        ("/data/study.journal", "journal:///data/study.journal"),
        ("journal://../study.journal", "journal:///experiments/study.journal"),
        ("journal:///data/study.journal", "journal:///data/study.journal"),
        ("sqlite:///studies.db", "sqlite:////experiments/kws/studies.db"),
        ("sqlite:////data/studies.db?timeout=3", "sqlite:////data/studies.db?timeout=3"),
        ("postgresql://hwnas@db/studies", "postgresql://hwnas@db/studies"),
        ("grpc://proxy:13000", "grpc://proxy:13000"),
    ],
)
def test_paths_start_from_the_root_and_servers_stay(location: str, expected: str) -> None:
    assert absolute_location(location, BASE) == expected
    assert absolute_location(expected, Path("/elsewhere")) == expected


def test_the_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert absolute_location("~/study.journal", BASE) == "journal:///home/ada/study.journal"


@pytest.mark.parametrize("location", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(location: str) -> None:
    with pytest.raises(UserError, match=r"search\.storage: workers cannot share .* sqlite:///PATH"):
        absolute_location(location, BASE)
    with pytest.raises(UserError, match=r"^storage: workers cannot share .* sqlite:///PATH"):
        location_of(location, "kws")
