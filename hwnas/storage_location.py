"""Where a study is stored, said so that it means the same in every process of a search."""

from __future__ import annotations

from pathlib import Path

from hwnas.config import ExperimentConfig
from hwnas.errors import UserError


def with_absolute_storage(config: ExperimentConfig, base_dir: Path) -> ExperimentConfig:
    """Return an experiment whose ``search.storage``, if it has one, is an absolute URL.

    Args:
        config: The experiment.
        base_dir: Folder of its file, which relative paths start from.

    Raises:
        UserError: If workers could not share the storage.
    """
    location = config.search.storage
    if location is None:
        return config
    update = {"storage": absolute_location(location, base_dir)}
    return config.model_copy(update={"search": config.search.model_copy(update=update)})


def absolute_location(location: str, base_dir: Path) -> str:
    """Return the URL of a storage; of its path from the root, where it is one in files.

    Args:
        location: As for `hwnas.storages.open_storage`.
        base_dir: Folder that relative paths start from.

    Raises:
        UserError: For a database in the memory of one process.
    """
    scheme, found, rest = location.partition("://")
    if not found:
        return f"journal://{_absolute(location, base_dir)}"
    if scheme == "journal":
        return f"journal://{_absolute(rest, base_dir)}"
    if scheme != "sqlite":
        return location
    require_shared(location, "search.storage")
    path, mark, options = rest.removeprefix("/").partition("?")
    if not rest.startswith("/"):
        return location  # no URL of SQLite's: whoever opens it says so
    return f"sqlite:///{_absolute(path, base_dir)}{mark}{options}"


def require_shared(location: str, where: str) -> None:
    """Raise if workers could not share a storage.

    Args:
        location: As for `absolute_location`.
        where: What error messages call the place it came from.

    Raises:
        UserError: For a database in the memory of one process.
    """
    scheme, _, rest = location.partition("://")
    path = rest.removeprefix("/").partition("?")[0]
    if scheme == "sqlite" and path in ("", ":memory:"):
        raise UserError(
            f"{where}: workers cannot share a database in memory. Wanted sqlite:///PATH. "
            f"Got {location!r}."
        )


def _absolute(path: str, base_dir: Path) -> Path:
    return (base_dir / Path(path).expanduser()).resolve()
