import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from targets.elf import loadable_bytes


def by_readelf(path: Path) -> int:
    """Sum of FileSiz over LOAD segments, as binutils prints them."""
    text = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True, check=True)
    rows = (line.split() for line in text.stdout.splitlines())
    return sum(int(row[4], 16) for row in rows if row and row[0] == "LOAD")


def test_loadable_bytes_are_those_readelf_reports(require_tool, tmp_path: Path) -> None:
    require_tool("readelf")
    require_tool("cc")
    library = tmp_path / "lib.so"
    source = tmp_path / "lib.c"
    source.write_text("const int table[5000] = {1, 2, 3}; int zero[90000]; int f(void){return 1;}")
    subprocess.run(["cc", "-g", "-shared", "-fPIC", "-o", library, source], check=True)
    assert loadable_bytes(library) == by_readelf(library)
    # constants count; debug information and zero-initialized data do not
    assert 20_000 < loadable_bytes(library) < 40_000
    executable = Path(shutil.which("true") or sys.executable)
    assert loadable_bytes(executable) == by_readelf(executable)


def test_stripping_symbols_changes_nothing(require_tool, tmp_path: Path) -> None:
    require_tool("strip")
    require_tool("cc")
    library = tmp_path / "lib.so"
    (tmp_path / "lib.c").write_text("int f(void){return 1;}")
    subprocess.run(["cc", "-g", "-shared", "-fPIC", "-o", library, tmp_path / "lib.c"], check=True)
    before, size = loadable_bytes(library), library.stat().st_size
    subprocess.run(["strip", library], check=True)
    assert loadable_bytes(library) == before
    assert library.stat().st_size < size


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"text", b"\x7fELF\x09\x01" + bytes(80)])
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="not an ELF file"):
        loadable_bytes(tmp_path / "file")
