"""Boards of one kind: one session at a time, and none again on a board that keeps failing."""

from __future__ import annotations

import logging
from collections import Counter

from targets.rpc_client import Endpoint, RpcClient, RpcSession

_log = logging.getLogger(__name__)

_LOSSES_TO_QUARANTINE = 2


class BoardPool:
    """Opens sessions on whichever board is free; a tracker knows which.

    A board that gets lost twice in a row is in quarantine for the life of the pool:
    one that hangs on everything must not take every other measurement with it.
    """

    def __init__(self) -> None:
        self._client = RpcClient()
        self._losses: Counter[str] = Counter()

    @property
    def process_ids(self) -> dict[str, int]:
        """Process (and group) id of the ``client``, if it runs."""
        return self._client.process_ids

    @property
    def quarantined(self) -> tuple[str, ...]:
        """Addresses of boards that are not used any more."""
        lost = (a for a, losses in self._losses.items() if losses >= _LOSSES_TO_QUARANTINE)
        return tuple(sorted(lost))

    def open(self, endpoint: Endpoint, session_timeout_s: float) -> RpcSession:
        """Return the open session, or open one on a board that is not in quarantine.

        Raises:
            DeviceRefusedError: If there is none; the message says what to do.
            DeviceLostError: If the board or the tracker went away.
        """
        return self._client.open(endpoint, session_timeout_s, self.quarantined)

    def give_back(self) -> None:
        """End the session: what was asked of the board has worked."""
        if self._client.address is not None:
            self._losses.pop(self._client.address, None)
        self._client.close_session()

    def abandon(self) -> None:
        """End the session: the board is lost, or does not answer."""
        address = self._client.address
        self._client.kill()
        if address is not None:
            self._losses[address] += 1
            if address in self.quarantined:
                _log.warning(
                    "board %s failed %d times in a row and is not used any more in this process",
                    address,
                    self._losses[address],
                )

    def close(self) -> None:
        """End the session and the process that held it."""
        self._client.kill()
