"""Boards of one kind: one session at a time, and none again on a board that keeps failing."""

from __future__ import annotations

import logging

from targets.rpc_client import Endpoint, RpcClient, RpcSession

_log = logging.getLogger(__name__)

_LOSSES_TO_QUARANTINE = 3


class BoardPool:
    """Opens sessions on whichever board is free; a tracker knows which.

    A board that got lost is taken again only if no other is free. One that got lost with
    three pieces of work in a row is in quarantine for the life of the pool: a board that
    hangs on everything must not take every other measurement with it. The same work counts
    once, however often it is tried: a model that crashes every board is no board's fault.
    """

    def __init__(self) -> None:
        self._client = RpcClient()
        # by address of the board, the work it got lost with since it last succeeded
        self._losses: dict[str, set[str]] = {}

    @property
    def process_ids(self) -> dict[str, int]:
        """Process (and group) id of the ``client``, if it runs."""
        return self._client.process_ids

    @property
    def quarantined(self) -> tuple[str, ...]:
        """Addresses of boards that are not used any more."""
        lost = (a for a, works in self._losses.items() if len(works) >= _LOSSES_TO_QUARANTINE)
        return tuple(sorted(lost))

    def open(self, endpoint: Endpoint, session_timeout_s: float) -> RpcSession:
        """Return the open session, or open one on a board that is not in quarantine.

        Raises:
            DeviceRefusedError: If there is none; the message says what to do.
            DeviceLostError: If the board or the tracker went away.
        """
        return self._client.open(endpoint, session_timeout_s, self.quarantined, tuple(self._losses))

    def give_back(self) -> None:
        """End the session: the board did, or properly refused, what was asked of it."""
        if self._client.address is not None:
            self._losses.pop(self._client.address, None)
        self._client.close_session()

    def interrupt(self) -> None:
        """Make whoever waits for the board fail at once; called from another thread."""
        self._client.interrupt()

    def abandon(self, work: str, reason: object) -> str | None:
        """End the session: the board is lost, or does not answer.

        Args:
            work: What it was lost with; the same text for the same work.
            reason: What happened, one line.

        Returns:
            Address of the board; ``None`` if none had been promised yet.
        """
        address = self._client.address
        self._client.kill()
        if address is not None:
            works = self._losses.setdefault(address, set())
            works.add(work)
            if len(works) == _LOSSES_TO_QUARANTINE:
                _log.warning(
                    "board %s got lost %d times in a row, at last: %s. It is in quarantine: "
                    "not used any more until this process ends",
                    address,
                    len(works),
                    reason,
                )
        return address

    def close(self) -> None:
        """End the session and the process that held it."""
        self._client.kill()
