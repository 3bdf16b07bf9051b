"""The few operations of one study on its storage, repeated while the storage is away."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import optuna
from optuna.exceptions import (
    DuplicatedStudyError,
    StorageInternalError,
    UpdateFinishedTrialError,
)
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from hwnas.errors import UnreachableError, UserError
from hwnas.trial_record import new_token

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
# a server takes messages of 4 MiB
_CHUNK = 1 << 20
_VALUE = "value"

T = TypeVar("T")


@runtime_checkable
class IncrementalStorage(Protocol):
    """A storage that tells what changed at a cost that does not grow with the study."""

    def changed_trials(
        self, study_id: int, known: Sequence[int], unfinished: Collection[int]
    ) -> list[FrozenTrial]:
        """Return trials in the order of their creation.

        Args:
            study_id: Of the study.
            known: Ids of all trials known, in that order; later ones are returned.
            unfinished: Ids of known trials to be returned as they are now.
        """
        ...


class StudyStore:
    """One study in a storage that may restart at any time.

    An operation that fails because the storage does not answer is repeated, at growing
    intervals, for ``patience_s``. It may have been done although the answer was lost:
    repeating `write` and `finish` changes nothing, and of two trials created with one
    token readers count the first.

    Args:
        storage: Shared by all workers.
        name: Of the study.
        patience_s: How long a storage may be away.

    Attributes:
        patience_s: As given.
        outages: How often an operation had to be repeated.
    """

    def __init__(self, storage: BaseStorage, name: str, patience_s: float) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("optuna").setLevel(logging.ERROR)
        self._storage = storage
        self._name = name
        self.patience_s = patience_s
        self._study_id = -1
        self.outages = 0

    def open(self, directions: Sequence[str]) -> None:
        """Find the study, or make it with one direction per objective."""
        sides = [StudyDirection[direction.upper()] for direction in directions]
        self._study_id = self._patiently(lambda: self._find_or_make(self._name, sides))

    def find(self) -> bool:
        """Find the study; ``False`` where there is none."""
        try:
            self._study_id = self._patiently(
                lambda: self._storage.get_study_id_from_name(self._name)
            )
        except KeyError:
            return False
        return True

    def changed_trials(
        self, known: Sequence[int], unfinished: Mapping[int, int]
    ) -> list[FrozenTrial]:
        """Return unfinished trials as they are now, then those that are new; not to be changed.

        Args:
            known: Ids of all trials known, in the order of their creation.
            unfinished: Ids of those that had not finished, by number.
        """

        def read() -> list[FrozenTrial]:
            storage = self._storage
            if isinstance(storage, IncrementalStorage):
                return storage.changed_trials(self._study_id, known, unfinished.values())
            trials = storage.get_all_trials(self._study_id, deepcopy=False)
            return [*(trials[number] for number in unfinished), *trials[len(known) :]]

        return self._patiently(read)

    def create(self, state: TrialState, attribute: str, value: Any) -> None:
        """Create a trial in a state, with one attribute."""
        template = create_trial(state=state, user_attrs={attribute: value})
        self._patiently(lambda: self._storage.create_new_trial(self._study_id, template))

    def write(self, trial_id: int, key: str, value: Any) -> bool:
        """Set an attribute of a trial; ``False`` if it has finished."""

        def write() -> bool:
            try:
                self._storage.set_trial_user_attr(trial_id, key, value)
            except UpdateFinishedTrialError:
                return False
            return True

        return self._patiently(write)

    def finish(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """End a trial; ``False`` if it had ended, maybe by this very call repeated."""

        def finish() -> bool:
            try:
                return self._storage.set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                return False

        return self._patiently(finish)

    def announce(self, key: str, text: str) -> None:
        """Store a text with the study in place of an earlier one."""
        self._patiently(lambda: self._storage.set_study_user_attr(self._study_id, key, text))

    def announcement(self, key: str) -> str | None:
        """Return what was announced last; ``None`` where nothing was."""
        attributes = self._patiently(lambda: self._storage.get_study_user_attrs(self._study_id))
        return attributes.get(key)

    def describe(self, key: str, text: str) -> None:
        """Store a text with the study, unless there is one of this key; whole or not at all.

        Of several that are stored at once, all read the same one from then on. It may be long:
        it is kept apart from what is announced, which may be read often.
        """
        if self.description(key) is not None:
            return
        token = new_token()
        chunks = [text[i : i + _CHUNK] for i in range(0, len(text), _CHUNK)]
        for i, chunk in enumerate(chunks):
            self._set_description(f"{key}:{token}:{i}", chunk)
        self._set_description(key, self._first_of(key, [token, len(chunks)]))

    def _first_of(self, key: str, value: Any) -> Any:
        """Return the first value that any worker gave for a key, this one among them.

        Who sets an attribute does not learn who else did. But a storage creates trials one
        after the other, here in a study of their own.
        """
        template = create_trial(state=TrialState.PRUNED, user_attrs={_VALUE: value})

        def first() -> Any:
            study_id = self._find_or_make(f"{self._name}:{key}", [StudyDirection.MINIMIZE])
            self._storage.create_new_trial(study_id, template)
            trials = self._storage.get_all_trials(study_id, deepcopy=False)
            return min(trials, key=lambda trial: trial.number).user_attrs[_VALUE]

        return self._patiently(first)

    def description(self, key: str) -> str | None:
        """Return a text stored with the study; ``None`` where there is none."""
        attributes = self._patiently(lambda: self._storage.get_study_system_attrs(self._study_id))
        if key not in attributes:
            return None
        token, count = attributes[key]
        return "".join(attributes[f"{key}:{token}:{i}"] for i in range(count))

    def _set_description(self, key: str, value: Any) -> None:
        self._patiently(lambda: self._storage.set_study_system_attr(self._study_id, key, value))

    def _find_or_make(self, name: str, directions: Sequence[StudyDirection]) -> int:
        try:
            return self._storage.get_study_id_from_name(name)
        except KeyError:
            try:
                return self._storage.create_new_study(directions, name)
            except DuplicatedStudyError:
                return self._storage.get_study_id_from_name(name)

    def _patiently(self, operation: Callable[[], T]) -> T:
        end = time.monotonic() + self.patience_s
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return operation()
            except Exception as error:
                if not is_unreachable(error):
                    if (reason := _sqlite_fault(error)) is not None:
                        raise UserError(
                            f"The storage of study {self._name!r} cannot be used ({reason}). "
                            "Check its file and its disk, then start this command again."
                        ) from error
                    raise
                self.outages += 1
                if time.monotonic() > end:
                    raise UnreachableError(
                        f"The storage of study {self._name!r} has not answered for "
                        f"{self.patience_s:g} s ({type(error).__name__}). "
                        "Start it again, then this command."
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)


def read_description(
    storage: BaseStorage, key: str, name: str = "search", patience_s: float = 300.0
) -> str | None:
    """Return a text that `SearchStudy.describe` stored; ``None`` where there is none.

    Args:
        storage: Of the study.
        key: Of the text.
        name: Of the study.
        patience_s: How long the storage may be away.
    """
    store = StudyStore(storage, name, patience_s)
    return store.description(key) if store.find() else None


def is_unreachable(error: Exception) -> bool:
    """Return whether a storage may answer when asked again."""
    error = _met_by_optuna(error)
    module = type(error).__module__.partition(".")[0]
    if module == "sqlalchemy":
        from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

        if _sqlite_fault(error) is not None:
            return False
        return isinstance(error, OperationalError | InterfaceError) or (
            isinstance(error, DBAPIError) and error.connection_invalidated
        )
    if module == "grpc":
        import grpc

        # UNKNOWN is an exception of the server: the storage behind it is away
        away = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}
        return isinstance(error, grpc.RpcError) and error.code() in away
    return False


def _sqlite_fault(error: Exception) -> str | None:
    """Return what is wrong with a file of SQLite's that no waiting mends; ``None`` if nothing."""
    cause = getattr(_met_by_optuna(error), "orig", None)
    if not isinstance(cause, sqlite3.OperationalError):
        return None
    # the low byte: the others say more of the same
    code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return None if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) else str(cause)


def _met_by_optuna(error: Exception) -> Exception:
    """Return what Optuna wrapped into an error of its own, or the error."""
    if isinstance(error, StorageInternalError) and isinstance(error.__cause__, Exception):
        return _met_by_optuna(error.__cause__)
    return error
