"""Samples out of damaged streams; what was damaged is known."""

from itertools import pairwise

import numpy as np
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from targets.meters.ppk2_frames import decode
from tests.unit.targets.meters.ppk2_emulator import words

READING = 9251
SENT = words(READING, 3, 1000)


def decoded(content: bytes, *pieces: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples and their numbers, of a stream that arrives in pieces."""
    found, numbers, taken, counter, rest = [], [], 0, None, b""
    edges = [0, *sorted(pieces), len(content)]
    for start, end in pairwise(edges):
        some, lost, rest = decode(rest + content[start:end], counter)
        if len(some):
            counter = int(some[-1] >> 18) & 63
        number = taken + np.arange(len(some)) + np.cumsum(lost)
        taken = int(number[-1]) + 1 if len(number) else taken
        found.append(some)
        numbers.append(number)
    return np.concatenate(found), np.concatenate(numbers)


def intact(some: np.ndarray) -> bool:
    return bool(np.all((some & 0x3FFF) == READING) and np.all((some >> 14 & 7) == 3))


@given(st.lists(st.integers(0, 4000), max_size=6))
def test_where_pieces_end_does_not_matter(ends: list[int]) -> None:
    """The first two samples are not sure to be whole, and the last waits for the next."""
    some, numbers = decoded(SENT.tobytes(), *ends)
    assert some.tolist() == SENT[2:-1].tolist()
    assert numbers.tolist() == list(range(997))


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(10, 950), st.integers(1, 63)), min_size=1, max_size=4),
    st.integers(0, 4000),
)
def test_samples_keep_their_numbers_where_others_are_lost(
    losses: list[tuple[int, int]], end: int
) -> None:
    """Of up to 63 in a row, those lost are exactly those that miss; none other by more than 9."""
    there = np.ones(1000, bool)
    for first, n in losses:
        there[first : first + n] = False
    edges = np.flatnonzero(np.diff(there.astype(int)))
    assume(np.all(np.diff(edges)[::2] <= 63))  # more than the counter shows
    assume(np.all(np.diff(edges)[1::2] >= 8))  # too few between two losses to count on
    assume(there[-10:].all())  # not yet proven at the end
    some, numbers = decoded(SENT[there].tobytes(), end)
    numbers += 2
    assert intact(some)
    assert set(numbers.tolist()) <= set(np.flatnonzero(there).tolist())
    assert len(numbers) >= np.count_nonzero(there) - 9 * len(losses) - 3
    assert (some >> 18 & 63).tolist() == (numbers % 64).tolist()


@settings(max_examples=100)
@example(98, 3, 124)  # a piece that ends before what follows the loss is sure
@given(st.integers(0, 3900), st.integers(1, 40), st.integers(0, 3900))
def test_after_lost_bytes_samples_are_whole_again_and_keep_their_numbers(
    first: int, n: int, end: int
) -> None:
    content = SENT.tobytes()
    some, numbers = decoded(content[:first] + content[first + n :], end)
    numbers += int(some[0] >> 18) & 63
    assert intact(some)
    assert (some >> 18 & 63).tolist() == (numbers % 64).tolist()
    # the samples hit, three next to them, the first two, and the last, which waits; and the
    # samples before, where they are too few to count on
    assert len(some) >= 1000 - (n + 6) // 4 - 3 - 3 - (6 if first < 32 else 0)
    assert numbers[-1] == 998


@settings(max_examples=200, derandomize=True)
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=60))
def test_added_bytes_cost_the_samples_around_them_only(at: int, noise: bytes) -> None:
    content = SENT.tobytes()
    some, _ = decoded(content[:at] + noise + content[at:])
    # what is added may count on by itself, as the shortest of changes do one time in 64
    assert np.count_nonzero((some & 0x3FFF) != READING) <= len(noise) // 4 + 1  # one straddles
    assert len(some) >= 1000 - 10


def test_logic_inputs_of_a_sample_that_lost_its_last_byte_are_not_believed() -> None:
    """The byte that takes its place is of the next sample's reading."""
    content = SENT.tobytes()
    some, _ = decoded(content[:2003] + content[2004:])
    assert np.all(some >> 24 == 0)


def test_noise_holds_no_samples_and_does_not_pile_up() -> None:
    noise = np.random.default_rng(1).bytes(100_000)
    some, _, rest = decode(noise, None)
    assert len(some) <= 8  # seven that count on by chance: 1 in 64**6 per byte
    assert len(rest) < 40
