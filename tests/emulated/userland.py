"""An arm64 Debian userland with TVM's runtime, for qemu's user-mode emulation.

Debian's packages are unpacked and never installed, so neither a chroot nor binfmt is
needed. What was built is kept in the user's cache folder, by versions.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

RELEASE, PYTHON = "bookworm", "3.11"
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgcc-s1", "zlib1g")
# what the board server imports; TVM without its compiler, which is three quarters of it
WHEELS = ("apache-tvm", "apache-tvm-ffi", "numpy", "ml-dtypes", "typing-extensions")
LEFT_OUT = "libtvm_compiler"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
TOOLS = ("debootstrap", "dpkg", "qemu-aarch64-static", "aarch64-linux-gnu-g++")


def missing() -> str | None:
    """Return why the userland cannot be built or used here, ``None`` if it can."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"needs {', '.join(absent)}: Debian's qemu-user-static, debootstrap, g++-aarch64-..."
    if os.geteuid() != 0 and not folder().exists():
        return "debootstrap needs root to build the userland once"
    return None


def folder() -> Path:
    """Return where the userland is kept."""
    versions = {name: version(name) for name in WHEELS}
    content = json.dumps([RELEASE, PYTHON, PACKAGES, versions])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "hwnas-emulated" / hashlib.sha256(content.encode()).hexdigest()[:16]


def build() -> Path:
    """Build the userland unless it is there; an interrupted build leaves nothing behind."""
    done = folder()
    if done.exists():
        return done
    done.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=done.parent) as unfinished:
        root, site = Path(unfinished, "root"), Path(unfinished, "site")
        _unpack_debian(root)
        _unpack_wheels(site)
        Path(unfinished).chmod(0o755)
        staged = Path(unfinished, "done")
        staged.mkdir()
        for part in (root, site):
            part.rename(staged / part.name)
        staged.rename(done)
    return done


def command(userland: Path) -> list[str]:
    """Return the command that runs the emulated Python; `environment` goes with it."""
    root = userland / "root"
    return ["qemu-aarch64-static", "-L", str(root), str(root / f"usr/bin/python{PYTHON}")]


def environment(userland: Path) -> dict[str, str]:
    """Return the variables the emulated Python needs."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONHOME": str(userland / "root" / "usr"),
        "PYTHONPATH": str(userland / "site"),
        "TVM_NUM_THREADS": "1",
    }


def _unpack_debian(root: Path) -> None:
    subprocess.run(
        [
            "debootstrap",
            "--arch=arm64",
            "--foreign",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            RELEASE,
            str(root),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    archives = root / "var/cache/apt/archives"
    for package in archives.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, root], check=True)
        package.unlink()


def _unpack_wheels(site: Path) -> None:
    with tempfile.TemporaryDirectory() as wheels:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
                *("--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"),
                *(f"--platform={platform}" for platform in PLATFORMS),
                *("--dest", wheels),
                *(f"{name}=={version(name)}" for name in WHEELS),
            ],
            check=True,
        )
        for wheel in Path(wheels).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                names = [n for n in archive.namelist() if LEFT_OUT not in n]
                archive.extractall(site, names)
