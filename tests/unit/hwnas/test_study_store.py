"""Texts stored with a study: of several stored at one moment, all read the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from hwnas.study_store import StudyStore


class Crowded(InMemoryStorage):
    """Before a worker writes for the n-th time, others do something."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self._left = n
        self.meanwhile: Callable[[], object] | None = None

    def _pause(self) -> None:
        self._left -= 1
        if self._left < 0 and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._pause()
        super().set_study_system_attr(study_id, key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._pause()
        return super().create_new_trial(study_id, template_trial)


def opened(storage: InMemoryStorage) -> StudyStore:
    store = StudyStore(storage, "search", 1.0)
    store.open(["maximize"])
    return store


@pytest.mark.parametrize("n", range(4))
def test_two_that_describe_at_one_moment_read_the_same(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwnas.study_store._CHUNK", 3)
    storage = Crowded(n)
    one, other = opened(storage), opened(storage)
    read: list[str | None] = []

    def describe_too() -> None:
        other.describe("ladder", "halving")
        read.append(other.description("ladder"))

    storage.meanwhile = describe_too
    one.describe("ladder", "full")
    assert storage.meanwhile is None
    read += [one.description("ladder"), other.description("ladder")]
    assert set(read) in ({"full"}, {"halving"})
    one.describe("ladder", "another")
    assert one.description("ladder") == read[0]
