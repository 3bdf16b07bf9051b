"""What works on this computer, and how to fix what does not."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from hwnas.target_checking import check_target, list_targets
from targets.cache import default_cache_dir

_LEAST_FREE_BYTES = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: What.
        ok: Whether it works.
        detail: What was found.
        fix: What to do where it does not work.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def doctor() -> list[Finding]:
    """Look at Python, packages, compiler, disk, GPU, and the targets on this computer."""
    findings = [_python(), *_packages(), _compiler(), _disk(), _gpu()]
    for spec in list_targets():
        if spec.rpc is not None:  # a board that is not attached is nothing to fix here
            continue
        last = check_target(spec.name)[-1]
        detail = "compiles, agrees with ONNX Runtime, measures" if last.ok else last.detail
        findings.append(
            Finding(f"target {spec.name}", last.ok, detail, f"hwnas targets check {spec.name}")
        )
    return findings


def _python() -> Finding:
    found = platform.python_version()
    return Finding("Python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer")


def _packages() -> list[Finding]:
    """Compare every required package with what is installed."""
    findings = []
    for line in requires("hwnas") or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        fix = f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            findings.append(Finding(requirement.name, False, "not installed", fix))
            continue
        fits = requirement.specifier.contains(found, prereleases=True)
        detail = found if fits else f"{found}, but {requirement.specifier} is needed"
        findings.append(Finding(requirement.name, fits, detail, fix))
    return findings


def _compiler() -> Finding:
    name = next((n for n in ("cc", "gcc", "clang") if shutil.which(n)), None)
    fix = "install a C compiler, such as Debian's package g++: TVM links its code with it"
    return Finding("C compiler", name is not None, shutil.which(name or "") or "none found", fix)


def _disk() -> Finding:
    cache = default_cache_dir()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free / 1e9:.1f} GB free for the cache in {cache}"
    return Finding("disk", free >= _LEAST_FREE_BYTES, detail, "free space, or set HWNAS_CACHE")


def _gpu() -> Finding:
    import torch

    found = torch.cuda.get_device_name() if torch.cuda.is_available() else "none; the CPU trains"
    return Finding("GPU", True, found)
