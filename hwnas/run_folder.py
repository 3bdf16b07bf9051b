"""A run on disk: manifest, journal, measurements, checkpoints, front, report."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hwnas.errors import UserError
from targets import write_atomically

SCHEMA_VERSION = 1
_MANIFEST_KEYS = {"config", "base_dir", "dataset_fingerprint", "target_fingerprint"}
_FRONT_KEYS = {"run", "target", "objectives", "hypervolume", "candidates", "evaluations"}
_PACKAGES = (
    "hwnas",
    "torch",
    "optuna",
    "numpy",
    "onnx",
    "onnxruntime",
    "apache-tvm",
    "scikit-learn",
    "moocore",
)


class RunFolder:
    """Paths and atomic writes of one run.

    Args:
        path: ``runs/<name>``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest_json = path / "manifest.json"
        self.journal = path / "study.journal"
        self.measurements = path / "measurements.jsonl"
        self.front_json = path / "front.json"
        self.front_csv = path / "front.csv"
        self.checkpoints = path / "checkpoints"
        self.variants_json = path / "variants.json"
        self.variants = path / "variants"
        self.report_html = path / "report.html"

    def create(self, manifest: Mapping[str, Any]) -> None:
        """Make the folder and its manifest.

        Raises:
            UserError: If a run is there already, or the folder cannot be written.
        """
        if self.manifest_json.exists():
            raise UserError(
                f"{self.path}: holds a run already. Continue it with --resume, "
                "or choose another name with --set name=NAME."
            )
        if self.path.is_dir() and any(self.path.iterdir()):
            raise UserError(
                f"{self.path}: holds files that are no run. Remove them, "
                "or choose another name with --set name=NAME."
            )
        try:
            self.write_json(self.manifest_json, manifest)
            self.checkpoints.mkdir()
        except OSError as error:
            shutil.rmtree(self.path, ignore_errors=True)
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UserError(
                f"{self.path}: cannot write the run there ({reason}). "
                "Choose another folder with --runs DIR."
            ) from None

    def remove(self) -> None:
        """Delete the run and its folder."""
        shutil.rmtree(self.path)

    def manifest(self) -> dict[str, Any]:
        """Read the manifest.

        Raises:
            UserError: If there is none, or it is damaged or of another schema version.
        """
        return read_versioned_json(
            self.manifest_json, f"{self.path}: not a run folder", _MANIFEST_KEYS
        )

    def front(self) -> dict[str, Any]:
        """Read the front.

        Raises:
            UserError: As `manifest`.
        """
        return read_versioned_json(
            self.front_json,
            f"{self.path}: its search has not finished; continue it with --resume",
            _FRONT_KEYS,
        )

    def checkpoint(self, arch_id: str, seed: int | None = None) -> Path:
        """Return where a network's weights go: the search's, or one of a finalist's seeds."""
        name = arch_id if seed is None else f"{arch_id}-seed{seed}"
        return self.checkpoints / f"{name}.safetensors"

    def write_json(self, path: Path, document: Mapping[str, Any]) -> None:
        """Write a JSON file atomically."""
        write_atomically(path, json.dumps(document, indent=1, allow_nan=False).encode())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises:
            UserError: If another process holds it.
        """
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self.path}: another process is running this search. Wait for it or stop it."
                ) from None
            yield


def read_versioned_json(path: Path, when_missing: str, keys: Set[str]) -> dict[str, Any]:
    """Read a JSON object of this schema version that has certain keys.

    Raises:
        UserError: If it is missing, damaged or of another version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{when_missing} ({path.name} is missing).") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({str(error).splitlines()[0]}).") from None
    found = document.get("schema_version") if isinstance(document, dict) else None
    if found != SCHEMA_VERSION:
        raise UserError(
            f"{path}: schema_version {found}; this hwnas {version('hwnas')} reads "
            f"{SCHEMA_VERSION}. Use the hwnas that wrote it, or search again under another name."
        )
    if missing := keys - document.keys():
        raise UserError(f"{path}: damaged (without {', '.join(sorted(missing))}).")
    return dict(document)


def environment() -> dict[str, Any]:
    """Return what a result depends on beside the config: versions, host, revision."""
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "git_revision": _git_revision(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
