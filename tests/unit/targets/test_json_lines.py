import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets import JsonLines

values = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9), max_size=3)


def read(path: Path) -> list[object]:
    return [value for _, value in JsonLines(path)]


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run code in a process of its own; ``path`` in it is the first argument."""
    prelude = (
        "import sys\nfrom pathlib import Path\nfrom targets import JsonLines\n"
        "lines = JsonLines(Path(sys.argv[1]))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", prelude + code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_file_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "new.jsonl") == []


@given(documents=st.lists(values, max_size=5))
def test_what_was_appended_comes_back_in_order(documents, tmp_path_factory) -> None:
    lines = JsonLines(tmp_path_factory.mktemp("lines") / "folder" / "lines.jsonl")
    for document in documents:
        lines.append(document)
    assert read(lines.path) == documents


@given(cut=st.integers(2, 9))
def test_a_torn_last_line_is_dropped_and_the_next_is_not_glued_to_it(cut, tmp_path_factory) -> None:
    lines = JsonLines(tmp_path_factory.mktemp("lines") / "lines.jsonl")
    lines.append({"n": 1})
    lines.append({"n": 22})
    lines.path.write_bytes(lines.path.read_bytes()[:-cut])
    assert read(lines.path) == [{"n": 1}]
    lines.append({"n": 3})
    assert read(lines.path) == [{"n": 1}, {"n": 3}]


def test_a_last_line_that_lacks_only_its_line_feed_is_completed(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "lines.jsonl")
    lines.path.write_text('{"n": 1}')
    assert read(lines.path) == [{"n": 1}]
    lines.append({"n": 2})
    assert lines.path.read_text() == '{"n": 1}\n{"n": 2}\n'


def test_a_torn_line_longer_than_any_buffer_is_dropped_whole(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "lines.jsonl")
    lines.append({"n": 1})
    with lines.path.open("ab") as file:
        file.write(b'{"long": "' + b"x" * 1_000_000)
    lines.append({"n": 2})
    assert lines.path.read_text() == '{"n": 1}\n{"n": 2}\n'


def test_reading_changes_nothing_whatever_the_file_holds(tmp_path: Path) -> None:
    lines = JsonLines(tmp_path / "lines.jsonl")
    lines.path.write_bytes(b'{"n": 1}\n{"n": ')
    assert read(lines.path) == [{"n": 1}]
    assert lines.path.read_bytes() == b'{"n": 1}\n{"n": '


def test_a_line_that_another_process_is_still_writing_is_not_taken_for_torn(
    tmp_path: Path,
) -> None:
    """The other process holds the lock with half a line written, as in a slow write."""
    lines = JsonLines(tmp_path / "lines.jsonl")
    lines.append({"n": 1})
    with lines.path.open("ab", buffering=0) as slow:
        fcntl.flock(slow, fcntl.LOCK_EX)
        slow.write(b'{"n": ')
        other = start("print('ready', flush=True); lines.append({'n': 3})", lines.path)
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        time.sleep(0.2)  # time to do wrong, were there no lock
        assert other.poll() is None
        assert read(lines.path) == [{"n": 1}]
        slow.write(b"2}\n")
    assert other.wait(timeout=30) == 0
    other.communicate()
    assert read(lines.path) == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_processes_that_append_at_once_lose_and_mix_nothing(tmp_path: Path) -> None:
    """Lines of up to 200 kB, more than any single write is sure to take."""
    path = tmp_path / "lines.jsonl"
    code = (
        "for n in range(60):\n"
        "    lines.append({'who': sys.argv[2], 'n': n, 'long': sys.argv[2] * 10 ** (n % 6)})\n"
    )
    writers = [start(code, path, who) for who in "abc"]
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    documents = [value for _, value in JsonLines(path)]
    for who in "abc":
        own = [d for d in documents if d["who"] == who]
        assert [d["n"] for d in own] == list(range(60))
        assert all(d["long"] == who * 10 ** (d["n"] % 6) for d in own)
    assert len(documents) == 180


def test_killing_a_writer_loses_nothing_that_it_had_been_told_was_written(tmp_path: Path) -> None:
    """Lines of 4 MB, so that some kills strike within a write; each next writer repairs."""
    path = tmp_path / "lines.jsonl"
    code = (
        "n = int(sys.argv[2])\n"
        "while True:\n"
        '    lines.append_line(b\'{"n": %d, "long": "%s"}\' % (n, b\'x\' * 4_000_000))\n'
        "    print(n, flush=True)\n"
        "    n += 1\n"
    )
    written: list[int] = []
    n_torn = attempt = 0
    while n_torn < 2:
        assert attempt < 60, "no kill struck within a write"
        writer = start(code, path, 1000 * attempt)
        assert writer.stdout is not None
        written.append(int(writer.stdout.readline()))
        time.sleep(0.001 * (attempt % 10))
        writer.kill()
        out, _ = writer.communicate(timeout=30)
        written.extend(int(n) for n in out.splitlines())
        n_torn += not path.read_bytes().endswith(b"\n")
        attempt += 1
    JsonLines(path).append({"n": -1})
    found = [value["n"] for _, value in JsonLines(path)]
    assert found == [*sorted(found[:-1]), -1]
    assert len(set(found)) == len(found)
    assert set(written) < set(found)
    # a line may be whole when its writer dies before saying so, but no more than one of each
    assert len(found) - 1 - len(written) <= attempt


def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_it_as_it_was(
    tmp_path: Path,
) -> None:
    """A limit on the file's size cuts the write short, as a full disk does."""
    lines = JsonLines(tmp_path / "lines.jsonl")
    lines.append({"n": 1})
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try: lines.append({'long': 'x' * 9000})\n"
        "except OSError as error: print(error.errno, error.filename)\n"
        "lines.append({'n': 2})\n"
    )
    out, errors = start(code, lines.path).communicate(timeout=30)
    assert out == f"{errno.EFBIG} {lines.path}\n", errors
    assert lines.path.read_text() == '{"n": 1}\n{"n": 2}\n'


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


@given(documents=st.lists(values, min_size=1, max_size=5), data=st.data())
def test_reading_goes_on_where_it_stopped(documents, data, tmp_path_factory) -> None:
    lines = JsonLines(tmp_path_factory.mktemp("lines") / "lines.jsonl")
    for document in documents:
        lines.append(document)
    found = list(lines.lines())
    begin = data.draw(st.integers(0, len(found) - 1))
    again = list(lines.lines(found[begin].offset, found[begin].number))
    assert again == found[begin:]
    assert [json.loads(lines.line_at(line.offset)) for line in found] == documents
    assert os.path.getsize(lines.path) == found[-1].offset + len(found[-1].content) + 1
