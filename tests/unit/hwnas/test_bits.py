"""Booleans as text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.bits import pack_bits, unpack_bits


@given(st.lists(st.booleans(), max_size=50))
def test_what_was_packed_is_unpacked(bits: list[bool]) -> None:
    assert unpack_bits(pack_bits(np.array(bits, dtype=np.bool_)), len(bits)).tolist() == bits


def test_eight_samples_take_one_byte() -> None:
    # 1010 0000 is 0xA0, which is "oA==" in base64
    assert pack_bits(np.array([1, 0, 1, 0, 0, 0, 0, 0], dtype=np.bool_)) == "oA=="


@pytest.mark.parametrize("text", ["oA==", "?", "oA", ""])
def test_text_of_another_number_of_samples_or_no_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"wanted 2 bytes|no base64"):
        unpack_bits(text, 9)
