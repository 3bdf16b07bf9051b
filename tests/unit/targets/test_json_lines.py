from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets import JsonLines

values = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3)


def read(path: Path) -> list[object]:
    return [value for _, value in JsonLines(path)]


def test_a_file_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "new.jsonl") == []


@given(documents=st.lists(values, max_size=5))
def test_what_was_appended_comes_back_in_order(documents, tmp_path_factory) -> None:
    lines = JsonLines(tmp_path_factory.mktemp("lines") / "lines.jsonl")
    for document in documents:
        lines.append(document)
    assert read(lines.path) == documents


@given(cut=st.integers(1, 9))
def test_a_torn_last_line_is_dropped_and_the_next_is_not_glued_to_it(cut, tmp_path_factory) -> None:
    lines = JsonLines(tmp_path_factory.mktemp("lines") / "lines.jsonl")
    lines.append({"n": 1})
    lines.append({"n": 22})
    lines.path.write_bytes(lines.path.read_bytes()[:-cut])
    reopened = JsonLines(lines.path)
    assert read(lines.path) == [{"n": 1}]
    reopened.append({"n": 3})
    assert read(lines.path) == [{"n": 1}, {"n": 3}]


def test_a_damaged_line_in_the_middle_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"n": 1}\n{"n": \n{"n": 3}\n')
    with pytest.raises(ValueError, match=r"lines\.jsonl:2: not JSON"):
        read(path)


def test_not_a_number_is_refused_and_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "lines.jsonl")
    lines.append({"n": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        lines.append({"n": float("nan")})
    assert read(lines.path) == [{"n": 1}]
