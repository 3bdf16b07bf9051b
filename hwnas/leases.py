"""Who still works on what: leases that living workers renew and others watch.

Optuna's heartbeat is kept by one kind of storage only, and compares clocks of hosts. A lease
is a counter in a trial that its worker raises; whoever has seen it unchanged for long enough,
by its own clock, takes the worker for dead.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from hwnas.study_store import StudyStore
from hwnas.trial_record import LEASE


class LeaseKeeper:
    """Renews the leases of running trials from a thread until they end.

    Args:
        store: Of the study.
        lease_s: Time without renewal after which a worker counts as dead.
    """

    def __init__(self, store: StudyStore, lease_s: float) -> None:
        self._store = store
        self.lease_s = lease_s
        self._held: set[int] = set()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> frozenset[int]:
        """Trials whose leases are renewed."""
        return frozenset(self._held)

    def hold(self, trial_id: int) -> None:
        """Begin to renew the lease of a trial."""
        self._held.add(trial_id)
        if self._thread is None:
            self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)
            self._thread.start()

    def drop(self, trial_id: int) -> None:
        """Renew no more."""
        self._held.discard(trial_id)

    def close(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        if self._thread is not None:
            # it may be waiting for a storage that is away
            self._thread.join(timeout=1.0)

    def _renew(self) -> None:
        renewals = 0
        while not self._stopped.wait(self.lease_s / 3):
            renewals += 1
            for trial_id in self.held:
                try:
                    if not self._store.write(trial_id, LEASE, renewals):
                        self.drop(trial_id)
                except Exception:
                    # maybe gone by the next round; if not, the worker meets it at its next write
                    break


class LeaseWatch:
    """Notices leases that are no longer renewed.

    Args:
        lease_s: Time without renewal after which a worker counts as dead.
        clock: Monotonic, in seconds.
    """

    def __init__(self, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.lease_s = lease_s
        self._clock = clock
        self._seen: dict[int, tuple[int, float]] = {}
        self._outages = 0

    def expired(self, leases: Iterable[tuple[int, int]], outages: int = 0) -> set[int]:
        """Return the trials whose leases have been the same for too long.

        Args:
            leases: Trial and counter of each running trial, as read now.
            outages: How often the storage was away until now: what nobody could renew
                meanwhile has not expired.
        """
        now = self._clock()
        known = self._seen if outages == self._outages else {}
        self._outages = outages
        seen = {}
        for trial_id, renewals in leases:
            before = known.get(trial_id)
            unchanged = before is not None and before[0] == renewals
            seen[trial_id] = before if before is not None and unchanged else (renewals, now)
        self._seen = seen
        return {t for t, (_, since) in seen.items() if now - since >= self.lease_s}
