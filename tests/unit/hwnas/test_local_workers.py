"""Workers that die are replaced, as long as evaluations end."""

from __future__ import annotations

import multiprocessing

import pytest

from hwnas.errors import UserError
from hwnas.local_workers import LocalWorkers


class Killed:
    """A process that was killed as soon as it had started."""

    exitcode = -9

    def is_alive(self) -> bool:
        return False

    def join(self) -> None: ...

    def kill(self) -> None: ...


@pytest.fixture
def _killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every worker be killed at once; it says nothing."""

    def start(workers: LocalWorkers) -> None:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        theirs.close()
        workers._running.append((Killed(), ours))  # type: ignore[arg-type]

    monkeypatch.setattr(LocalWorkers, "_start", start)


@pytest.mark.usefixtures("_killed")
def test_any_number_of_architectures_may_kill_their_workers() -> None:
    """Each is recorded as a failure after three deaths, and the search goes on."""
    with LocalWorkers("", "", 1) as workers:
        for deaths in range(100):
            assert workers.check(ended=deaths // 3)


@pytest.mark.usefixtures("_killed")
@pytest.mark.parametrize("count", [1, 4])
def test_a_search_whose_workers_only_die_ends_with_what_to_do(count: int) -> None:
    with (
        LocalWorkers("", "", count) as workers,
        pytest.raises(UserError, match=r"processes died in a row, .* exit code -9, .* --resume"),
    ):
        all(workers.check(ended=7) for _ in range(100))


def test_an_error_longer_than_a_pipe_holds_is_heard() -> None:
    """Its worker cannot end before."""
    kind = "x" * 100_000
    with LocalWorkers(f"{kind}://", "search", 1) as workers:
        assert workers._running[0][1].poll(60.0)
        with pytest.raises(UserError, match=f"no kind of storage is named '{kind}'"):
            workers.check(ended=0)
