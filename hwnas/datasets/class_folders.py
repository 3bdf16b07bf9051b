"""Files in one folder per class, optionally inside ``train`` and ``test`` folders."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import UserError


@dataclass(frozen=True)
class ClassFile:
    """One file, its class and whether it belongs to the official test set."""

    path: Path
    class_name: str
    is_test: bool


@dataclass(frozen=True)
class ClassFiles:
    """All files of a folder tree, in a fixed order."""

    files: tuple[ClassFile, ...]
    class_names: tuple[str, ...]

    @property
    def y(self) -> NDArray[np.int64]:
        """Class index of each file."""
        index = {name: i for i, name in enumerate(self.class_names)}
        return np.array([index[file.class_name] for file in self.files], dtype=np.int64)

    @property
    def official_test(self) -> NDArray[np.bool_] | None:
        """Which files lie under ``test``; ``None`` where there is no such folder."""
        test = np.array([file.is_test for file in self.files])
        return test if test.any() else None


def class_files(root: Path, suffixes: Collection[str]) -> ClassFiles:
    """List the files of each class folder.

    Raises:
        UserError: If there are no class folders, one is empty, or a file is of another kind.
    """
    if not root.is_dir():
        raise UserError(f"{root}: wanted a folder with one folder per class")
    parts = [(root / "train", False), (root / "test", True)]
    if not all(part.is_dir() for part, _ in parts):
        parts = [(root, False)]
    files = [
        ClassFile(path, folder.name, is_test)
        for part, is_test in parts
        for folder in sorted(p for p in part.iterdir() if p.is_dir() and p.name[0] not in "._")
        for path in _files(folder)
    ]
    if not files:
        raise UserError(f"{root}: no class folders. Wanted {root.name}/CLASS/FILE.")
    for file in files:
        if file.path.suffix.lower() not in suffixes:
            raise UserError(
                f"{file.path}: wanted one of {', '.join(sorted(suffixes))}. Remove other files."
            )
    return ClassFiles(tuple(files), tuple(sorted({file.class_name for file in files})))


def _files(folder: Path) -> list[Path]:
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    if not files:
        raise UserError(f"{folder}: no files in this class folder. Add some, or remove the folder.")
    return files
