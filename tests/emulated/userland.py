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
# what the board server imports; both ends of TVM's RPC have to be of one version
TVM = ("apache-tvm", "apache-tvm-ffi")
OTHERS = ("numpy", "ml-dtypes", "typing-extensions")
# TVM's compiler is three quarters of it, and a board has none
LEFT_OUT = "libtvm_compiler"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
NEEDED = {
    "debootstrap": "debootstrap",
    "dpkg": "dpkg",
    "fakeroot": "fakeroot",
    "setpriv": "util-linux",
    "qemu-aarch64-static": "qemu-user-static",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
}
"""Commands, and the packages of Debian that hold them."""


def missing() -> str | None:
    """Return why there can be no emulated board here, ``None`` if there can."""
    packages = [package for tool, package in NEEDED.items() if shutil.which(tool) is None]
    return f"an emulated board needs {', '.join(packages)}" if packages else None


def folder() -> Path:
    """Return where the userland is kept."""
    content = json.dumps([RELEASE, PYTHON, PACKAGES, _wheels(), LEFT_OUT])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "hwnas-emulated" / hashlib.sha256(content.encode()).hexdigest()[:16]


def build() -> Path:
    """Build the userland unless it is there; an interrupted build leaves nothing behind."""
    done = folder()
    if done.exists():
        return done
    done.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=done.parent) as temporary:
        unfinished = Path(temporary, "userland")
        _unpack_debian(unfinished / "root")
        _unpack_wheels(unfinished / "site")
        try:
            unfinished.rename(done)
        except OSError:  # another process may have built it meanwhile
            if not done.exists():
                raise
    return done


def command(userland: Path) -> list[str]:
    """Return the command that runs the emulated Python; `environment` goes with it.

    The process ends with the one that starts it, however that ends.
    """
    root = userland / "root"
    return [
        *("setpriv", "--pdeathsig", "KILL"),
        *("qemu-aarch64-static", "-L", str(root)),
        str(root / f"usr/bin/python{PYTHON}"),
    ]


def environment(userland: Path) -> dict[str, str]:
    """Return the variables the emulated Python needs."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONHOME": str(userland / "root" / "usr"),
        "PYTHONPATH": str(userland / "site"),
        "TVM_NUM_THREADS": "1",
    }


def _wheels() -> list[str]:
    # of the others any version will do, and not each runs on every Python
    return [*(f"{name}=={version(name)}" for name in TVM), *OTHERS]


def _unpack_debian(root: Path) -> None:
    # what belongs to root stays the user's own: nothing in it is ever run as root
    subprocess.run(
        [
            *("fakeroot", "debootstrap", "--arch=arm64", "--foreign", "--variant=minbase"),
            *("--force-check-gpg", f"--include={','.join(PACKAGES)}"),
            *(RELEASE, str(root)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    # the foreign stage unpacks no more than the base system
    for package in (root / "var/cache/apt/archives").glob("*.deb"):
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
                *_wheels(),
            ],
            check=True,
        )
        for wheel in Path(wheels).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                names = [n for n in archive.namelist() if LEFT_OUT not in n]
                archive.extractall(site, names)
