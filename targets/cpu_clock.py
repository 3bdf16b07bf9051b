"""A device's CPU clock: read it, pin it while something is measured, put it back in any case.

Linux' cpufreq, one policy for each group of cores that share a clock: see
https://www.kernel.org/doc/html/latest/admin-guide/pm/cpufreq.html
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import psutil

from targets.atomic_file import write_atomically
from targets.device_files import DeviceFiles

Clock: TypeAlias = int | Literal["max"]
Saved: TypeAlias = dict[str, str]

_ROOT = "/sys/devices/system/cpu"
# restored in this order: highest before lowest, as a lowest above the highest is refused
_SETTINGS = ("scaling_max_freq", "scaling_min_freq", "scaling_governor")
_MOST_CPUS = 512
_GRID_POINTS = 5
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pin:
    """What came of pinning.

    Args:
        clock_khz: Pinned clock of each policy; empty if none is pinned.
        refused: Why not, where it was wanted; one line.
    """

    clock_khz: Mapping[str, int]
    refused: str | None = None


def policies(files: DeviceFiles) -> list[str]:
    """Return the folders of the device's clock policies; none where it has no cpufreq."""
    folders = [f"{_ROOT}/cpufreq/policy{cpu}" for cpu in range(_n_cpus(files))]
    return [f for f in folders if files.read(f"{f}/scaling_governor") is not None]


def clocks_khz(files: DeviceFiles, folders: list[str]) -> dict[str, int]:
    """Return the current clock of each policy."""
    return _numbers(files, folders, "scaling_cur_freq")


def available_clocks_khz(files: DeviceFiles, folders: list[str]) -> list[int]:
    """Return the clocks that can be pinned, ascending: those of all policies.

    Drivers that list none, such as intel_pstate and amd-pstate, take any clock in their
    range: an even grid of it.
    """
    return sorted(
        {khz for folder in folders for khz in _listed(files, folder) or _grid(files, folder)}
    )


def is_pinned(files: DeviceFiles, folders: list[str]) -> bool:
    """Return whether no policy may move its clock, whoever pinned it."""
    lowest = _numbers(files, folders, "scaling_min_freq")
    return bool(lowest) and lowest == _numbers(files, folders, "scaling_max_freq")


def journal_name(files: DeviceFiles) -> str:
    """Return a file name of the device's own, until it restarts and forgets what was pinned."""
    boot = files.read("/proc/sys/kernel/random/boot_id") or "a device without a name"
    return f"{hashlib.sha256(boot.encode()).hexdigest()[:16]}.json"


@contextmanager
def pinned(files: DeviceFiles, clock: Clock | None, journal: Path) -> Iterator[Pin]:
    """Pin the clock in a ``with`` block, as far as it is permitted, and put back what was there.

    What was there is written to a journal before anything is changed. A process that is
    killed cannot put it back: the next one that uses the journal does, before all else.

    Args:
        files: The device's.
        clock: Clock of every policy in kHz, or ``max``; ``None`` pins nothing.
        journal: A file of this device's own: see `journal_name`.
    """
    if (held := _restore_after_crash(files, journal)) or clock is None:
        yield Pin({}, held)
        return
    saved = _settings(files)
    try:
        pin = _pin(files, clock, saved, journal)
        yield pin
    finally:
        if journal.exists():
            # nobody's from here on: should the device be lost now, its next use puts it back
            _write_journal(journal, saved, owner={"pid": None, "started": None})
            _restore_from(files, saved, journal)


def _pin(files: DeviceFiles, clock: Clock, saved: Saved, journal: Path) -> Pin:
    folders = policies(files)
    if not folders:
        return Pin({}, "the device has no cpufreq")
    owner = {"pid": os.getpid(), "started": psutil.Process().create_time()}
    _write_journal(journal, saved, owner)
    wanted = {folder: _reachable(files, folder, clock) for folder in folders}
    try:
        for folder, khz in wanted.items():
            _set_clock(files, folder, khz)
    except OSError as error:
        return Pin({}, f"{_reason(error)}: only root, or who the guide of the board lets, may")
    if is_pinned(files, folders):
        return Pin(_numbers(files, folders, "scaling_max_freq"))
    return Pin({}, f"a policy did not take {clock}: see its scaling_available_frequencies")


def _set_clock(files: DeviceFiles, folder: str, khz: int) -> None:
    """Raise the highest first when raising, lower the lowest first when lowering."""
    files.write(f"{folder}/scaling_governor", "performance")
    names = ["scaling_max_freq", "scaling_min_freq"]
    highest = int(files.read(f"{folder}/scaling_max_freq") or 0)
    for name in names if khz > highest else reversed(names):
        files.write(f"{folder}/{name}", str(khz))


def _reachable(files: DeviceFiles, folder: str, clock: Clock) -> int:
    """Return the highest clock a policy has up to the one wanted: groups of cores differ."""
    lowest = int(files.read(f"{folder}/cpuinfo_min_freq") or 0)
    highest = int(files.read(f"{folder}/cpuinfo_max_freq") or 0)
    if clock == "max" or (highest and clock > highest):
        return highest
    listed = [khz for khz in _listed(files, folder) if khz <= clock]
    return max(listed[-1] if listed else clock, lowest)


def _listed(files: DeviceFiles, folder: str) -> list[int]:
    words = (files.read(f"{folder}/scaling_available_frequencies") or "").split()
    return sorted(int(word) for word in words if word.isdecimal())


def _grid(files: DeviceFiles, folder: str) -> list[int]:
    ends = [files.read(f"{folder}/cpuinfo_{end}_freq") or "" for end in ("min", "max")]
    if not all(end.isdecimal() for end in ends):
        return []
    lowest, highest = map(int, ends)
    step = (highest - lowest) / (_GRID_POINTS - 1)
    return [round(lowest + step * i) for i in range(_GRID_POINTS)]


def _settings(files: DeviceFiles) -> Saved:
    paths = [f"{folder}/{name}" for folder in policies(files) for name in _SETTINGS]
    found = {path: files.read(path) for path in paths}
    return {path: text for path, text in found.items() if text}


def _restore(files: DeviceFiles, saved: Saved) -> None:
    """Put back every setting that differs."""
    differing = {path: text for path, text in saved.items() if files.read(path) != text}
    lowest = [path for path in differing if path.endswith("scaling_min_freq")]
    for path in lowest:  # out of the way, should the highest have to go below it
        folder = path.rpartition("/")[0]
        floor = files.read(f"{folder}/cpuinfo_min_freq")
        if floor:
            files.write(path, floor)
    for path, text in differing.items():
        files.write(path, text)


def _restore_after_crash(files: DeviceFiles, journal: Path) -> str | None:
    """Put back what a process left that ended; return why the clock is not to be touched."""
    try:
        document = json.loads(journal.read_bytes())
        saved = {str(p): str(t) for p, t in document["saved"].items() if _is_setting(str(p))}
        lives = _lives(document["pid"], document["started"])
    except FileNotFoundError:
        return None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        _log.warning("%s: ignored a damaged journal of clocks (%s)", journal, error)
        journal.unlink(missing_ok=True)
        return None
    if lives:
        return f"process {document['pid']} has pinned it, and will put it back"
    return _restore_from(files, saved, journal)


def _restore_from(files: DeviceFiles, saved: Saved, journal: Path) -> str | None:
    """Put back and forget; where that is not permitted, say so and keep the journal."""
    try:
        _restore(files, saved)
    except OSError as error:
        reason = f"what was pinned before could not be put back: {_reason(error)}"
        _log.warning("%s: %s", journal, reason)
        return reason
    journal.unlink(missing_ok=True)
    return None


def _write_journal(journal: Path, saved: Saved, owner: Mapping[str, Any]) -> None:
    write_atomically(journal, json.dumps({**owner, "saved": saved}).encode())


def _is_setting(path: str) -> bool:
    """A journal is a file like others: what it names must be what is written by this module."""
    pattern = rf"{_ROOT}/cpufreq/policy\d+/({'|'.join(_SETTINGS)})"
    return re.fullmatch(pattern, path) is not None


def _lives(pid: int | None, started: float | None) -> bool:
    if pid is None:
        return False
    try:
        return psutil.Process(pid).create_time() == started
    except psutil.NoSuchProcess:
        return False


def _n_cpus(files: DeviceFiles) -> int:
    numbers = re.findall(r"\d+", files.read(f"{_ROOT}/present") or "")
    return min(_MOST_CPUS, 1 + max(map(int, numbers), default=-1))


def _numbers(files: DeviceFiles, folders: list[str], name: str) -> dict[str, int]:
    texts = {folder.rpartition("/")[2]: files.read(f"{folder}/{name}") for folder in folders}
    return {policy: int(text) for policy, text in texts.items() if text and text.isdigit()}


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
