"""The Power Profiler Kit II's samples in its stream of bytes, also where some of it is lost.

Nothing marks where a sample of four bytes begins, except that the counter in bits 18 to 23 is
one more in each. It shows up to 63 lost samples; of more, what is beyond a multiple of 64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COUNTS = 64
"""Values of the counter."""

_SURE = 6
"""Samples that have to count on for a gap, or another beginning, to be believed."""

_SIZE = 4

_UNSURE = 2
"""Samples dropped where they begin to count on: the first may be of two halves, whose second has
the counter, and before it, one in 64 noises counts on by chance."""


def decode(
    content: bytes, counter: int | None
) -> tuple[NDArray[np.uint32], NDArray[np.int64], bytes]:
    """Return samples in their order.

    Where the counter jumps and then counts on, samples were lost. Where it does not count on,
    bytes were lost or added: what follows is dropped up to where it does, and so are the samples
    next to it, whose counter may be right and another byte of another sample.

    Args:
        content: As received.
        counter: Of the sample before; ``None`` for the first.

    Returns:
        Samples, shape ``(n,)``; how many are missing before each, shape ``(n,)``; and the bytes
        that make sense only together with what follows them.
    """
    words: list[NDArray[np.uint32]] = [np.empty(0, np.uint32)]
    lost: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    start = skipped = 0
    # a piece may begin in the middle of what an earlier one lost track of
    searching = counter is None or bool(_gaps(_words(content, 0)[:1], counter).any())
    while len(content) - start > _SIZE:
        if searching:
            before = start
            start, found = _beginning(content, start)
            skipped += start - before
            if not found:
                break
        here = _words(content, start)
        gaps = _gaps(here, counter)
        if searching and counter is not None:
            # of what was skipped, the counter tells all but a multiple of 64
            gaps[0] += max(0, COUNTS * round((skipped / _SIZE - gaps[0]) / COUNTS))
        good, lost_track = _sound(gaps, trusted=1 if searching else 0)
        words.append(here[:good])
        lost.append(gaps[:good])
        if good:
            counter, skipped = int(counts(here[good - 1 : good])[0]), 0
        start += _SIZE * good
        searching = lost_track
        if not lost_track:
            break
    return np.concatenate(words), np.concatenate(lost), content[start:]


def counts(words: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the counter of each sample."""
    return np.asarray(words >> 18 & (COUNTS - 1), dtype=np.int64)


def _words(content: bytes, start: int) -> NDArray[np.uint32]:
    return np.frombuffer(content, "<u4", max(0, len(content) - start) // _SIZE, start)


def _gaps(words: NDArray[np.uint32], counter: int | None) -> NDArray[np.int64]:
    """Return how many samples the counter says are missing before each."""
    here = counts(words)
    previous = here[0] - 1 if counter is None else counter
    return (np.diff(here, prepend=previous) - 1) % COUNTS


def _sound(gaps: NDArray[np.int64], trusted: int) -> tuple[int, bool]:
    """Return how many samples are sure, and whether what follows them does not count on.

    Args:
        gaps: Before each sample.
        trusted: Samples at the beginning that need no proof.
    """
    for gap in np.flatnonzero(gaps):
        if gap < trusted:
            continue
        after = gaps[gap + 1 : gap + 1 + _SURE]
        if after.any():
            return max(0, int(gap) - 1), True
        if len(after) < _SURE:
            return max(0, int(gap) - 1), False
    return len(gaps) - 1, False


def _beginning(content: bytes, start: int) -> tuple[int, bool]:
    """Return from where samples count on and are whole, or else where this still may be."""
    found = []
    for begin in range(start, start + _SIZE):
        steps = np.diff(counts(_words(content, begin))) % COUNTS == 1
        if len(steps) >= _SURE:
            runs = np.lib.stride_tricks.sliding_window_view(steps, _SURE).all(axis=1)
            if runs.any():
                found.append(begin + _SIZE * int(runs.argmax()))
    if found:
        return min(found) + _SIZE * _UNSURE, True
    return max(start, len(content) - _SIZE * (_SURE + 1) + 1), False
