"""Ask somebody else, such as a server, where the device stays doubtful."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwnas.runtime.answer import Answer

_LOG = logging.getLogger(__name__)

Ask: TypeAlias = Callable[[NDArray[np.float32], Answer], Answer | None]
"""Answers an input in the device's place, or returns ``None`` to keep the device's answer."""


class LowConfidenceFallback:
    """Asks where answers of the last exit stay doubtful.

    Args:
        ask: What to ask; its ``source`` should name it. Where it raises, that is logged and the
            device's answer kept.
        below: Confidence under which an answer of the last exit is doubtful, from 0 to 1.
        after: Doubtful answers in a row from which on each is asked for.

    Raises:
        ValueError: If ``below`` is no confidence or ``after`` is less than 1.
    """

    def __init__(self, ask: Ask, *, below: float = 0.5, after: int = 3) -> None:
        if not 0 < below <= 1:
            raise ValueError(f"below: wanted more than 0 and at most 1. Got {below}.")
        if after < 1:
            raise ValueError(f"after: wanted at least 1. Got {after}.")
        self._ask = ask
        self._below = below
        self._after = after
        self._doubtful = 0

    def consider(self, x: NDArray[np.float32], answer: Answer, *, is_last_exit: bool) -> Answer:
        """Return the device's answer, or another where it has been doubtful for long enough.

        Of another answer class, confidence and source count; what the inference took stays
        that of the device.

        Args:
            x: What was asked.
            answer: Of the device.
            is_last_exit: Whether no later exit could have been surer.
        """
        if not is_last_exit or answer.confidence >= self._below:
            self._doubtful = 0
            return answer
        self._doubtful += 1
        if self._doubtful < self._after:
            return answer
        try:
            other = self._ask(x, answer)
            return answer if other is None else _in_place_of(answer, other)
        except Exception:
            # a server that is away must not cost the answer that is there
            _LOG.warning("fallback: no answer, the device's is kept", exc_info=True)
            return answer


def _in_place_of(answer: Answer, other: Answer) -> Answer:
    return replace(
        answer,
        class_index=other.class_index,
        class_name=other.class_name,
        confidence=other.confidence,
        source=other.source,
    )
