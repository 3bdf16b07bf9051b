"""How much of a shared library a loader puts in memory."""

from __future__ import annotations

import struct
from pathlib import Path

_PT_LOAD = 1
# (struct format, offset of e_phoff, of e_phentsize, of p_filesz), by EI_CLASS
_LAYOUTS = {1: ("I", 28, 42, 16), 2: ("Q", 32, 54, 32)}


def loadable_bytes(path: Path) -> int:
    """Return the bytes of a file's loadable segments: code, constants, initialized data.

    Symbol tables, debug information and zero-initialized data are not in it.

    Args:
        path: An ELF file, 32 or 64 bit, either byte order.

    Raises:
        ValueError: If it is not an ELF file.

    References:
        System V Application Binary Interface, chapter 5, Program Header.
    """
    content = path.read_bytes()
    if content[:4] != b"\x7fELF" or not {content[4:5], content[5:6]} <= {b"\1", b"\2"}:
        raise ValueError(f"{path}: not an ELF file")
    word, at_table, at_sizes, at_filesz = _LAYOUTS[content[4]]
    order = "<" if content[5] == 1 else ">"
    (table,) = struct.unpack_from(order + word, content, at_table)
    entry_size, n_entries = struct.unpack_from(order + "HH", content, at_sizes)
    total = 0
    for entry in range(table, table + entry_size * n_entries, entry_size):
        (kind,) = struct.unpack_from(order + "I", content, entry)
        if kind == _PT_LOAD:
            total += struct.unpack_from(order + word, content, entry + at_filesz)[0]
    return total
