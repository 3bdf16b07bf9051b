"""Where a study is stored: a file on one host, a database server, or a proxy in front of it."""

from __future__ import annotations

import socket
import time
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import (
    BaseStorage,
    GrpcStorageProxy,
    RDBStorage,
    get_storage,
    run_grpc_proxy_server,
)

from hwnas.errors import UnreachableError, UserError
from hwnas.journal_file import FileStorage, JournalFile

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

_CONNECT_S = 10
_LOCKED_S = 60
_ATTEMPTS = 10
_KINDS = "a path, journal://PATH, sqlite:///PATH, postgresql://USER@HOST/DATABASE, grpc://HOST:PORT"


def open_storage(location: str) -> BaseStorage:
    """Open the storage of studies at a path or URL, made where there is none.

    ============================  ==========================================================
    a path, ``journal://PATH``    a journal file: any number of processes of one host
    ``sqlite:///PATH``            an SQLite file: likewise
    ``postgresql://U@HOST/DB``    a PostgreSQL server: many hosts (extra ``postgres``)
    ``grpc://HOST:PORT``          what `serve_storage` serves: hundreds of workers (``grpc``)
    ============================  ==========================================================

    Raises:
        UserError: For another scheme, a missing extra, a wrong password, a damaged file.
        UnreachableError: If the server does not answer.
    """
    scheme, found, rest = location.partition("://")
    if not found:
        return _journal(Path(location))
    if scheme == "journal":
        return _journal(Path(rest))
    if scheme == "grpc":
        return _proxy(location)
    if scheme == "sqlite":
        return _sqlite(location)
    if scheme == "postgresql":
        return _postgresql(location)
    raise UserError(f"storage: no kind of storage is named {scheme!r}. Give {_KINDS}.")


def serve_storage(location: str, host: str = "127.0.0.1", port: int = 13000) -> None:
    """Serve a database to workers by gRPC, so that they share its few connections.

    Anyone who reaches the port can read and write the studies: keep it on a network of
    one's own, or behind an SSH tunnel. Returns when interrupted.

    Args:
        location: Of an SQLite file or a PostgreSQL database.
        host: Address to listen on.
        port: Likewise.

    Raises:
        UserError: For another storage, or a port that is taken.
        UnreachableError: If the database does not answer.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    kind = location.partition("://")[0]
    if kind not in ("sqlite", "postgresql"):
        # a journal mistakes the threads of the server for one worker (Optuna issue 6084)
        raise UserError(
            f"storage: wanted sqlite:///PATH or postgresql://USER@HOST/DATABASE to serve. "
            f"Got {_shown(location)!r}."
        )
    _require("grpc", "grpc")
    # clients ask for all trials again and again: kept in memory here
    storage = get_storage(_sqlite(location) if kind == "sqlite" else _postgresql(location))
    try:
        # gRPC would share a port that is taken with whoever has it
        socket.create_server((host, port)).close()
    except OSError as error:
        raise UserError(
            f"{host}:{port}: cannot listen ({error.strerror}). Name a free port."
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        run_grpc_proxy_server(storage, host=host, port=port)


def _journal(path: Path) -> BaseStorage:
    try:
        return FileStorage(JournalFile(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be opened ({error.strerror}).") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: damaged ({type(error).__name__}: {error}). Search again under another name."
        ) from None


def _proxy(location: str) -> BaseStorage:
    _require("grpc", "grpc")
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None:
        raise UserError(f"storage: wanted grpc://HOST:PORT. Got {location!r}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = GrpcStorageProxy(host=host, port=port)
    try:
        storage.wait_server_ready(timeout=_CONNECT_S)
    except ConnectionError:
        storage.close()
        raise UnreachableError(
            f"{location}: no answer within {_CONNECT_S} s. "
            f"Check on {host}: hwnas serve-storage URL --port {port}"
        ) from None
    return storage


def _sqlite(location: str) -> RDBStorage:
    storage = _database(location, {"connect_args": {"timeout": _LOCKED_S}})
    _make_transactional(storage.engine)
    return storage


def _make_transactional(engine: Engine) -> None:
    """Have transactions of several processes exclude each other, and cost no wait for the disk.

    Left to itself, Python's driver begins a transaction at its first write: two processes
    could read that a trial runs, and both end it. A commit is in the file at once and on
    the disk with the next checkpoint, so that a killed process loses nothing.
    """
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    # connections opened before know nothing of this
    engine.dispose()


def _postgresql(location: str) -> RDBStorage:
    _require("psycopg", "postgres")
    arguments = {
        "connect_timeout": _CONNECT_S,
        # a host that vanished, with its transaction open, must not keep others waiting
        "options": f"-c idle_in_transaction_session_timeout={_LOCKED_S}s",
        "keepalives_idle": _CONNECT_S,
        "tcp_user_timeout": 1000 * _LOCKED_S,
    }
    url = location.replace("postgresql://", "postgresql+psycopg://", 1)
    return _database(url, {"connect_args": arguments})


def _database(url: str, engine_kwargs: dict[str, Any]) -> RDBStorage:
    from sqlalchemy.exc import ArgumentError, DatabaseError

    from hwnas.database_storage import DatabaseStorage

    for attempt in range(_ATTEMPTS):
        try:
            storage = DatabaseStorage(url, engine_kwargs=engine_kwargs)
        except (ArgumentError, ValueError) as error:
            raise UserError(f"storage: {_shown(url)!r} is no URL: {error}.") from None
        except (DatabaseError, StorageInternalError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            # of processes that open a new database at once, one makes the tables
            if not _is_race(str(cause)) or attempt == _ATTEMPTS - 1:
                raise _why_not(url, str(getattr(cause, "orig", cause))) from None
            time.sleep(0.1 * (attempt + 1))
        else:
            # its pool of connections, which nothing else would close
            weakref.finalize(storage, storage.engine.dispose)
            return storage
    raise AssertionError("unreachable")


def _is_race(message: str) -> bool:
    return any(text in message for text in ("already exists", "duplicate key", "UNIQUE constraint"))


def _why_not(url: str, reason: str) -> UserError:
    where = _shown(url)
    if url.startswith("sqlite"):
        return UserError(f"{where}: cannot be opened ({reason}).")
    if "authentication failed" in reason or "no password supplied" in reason:
        return UserError(
            f"{where}: the server refuses this user or password. "
            "Give the password in ~/.pgpass or the environment variable PGPASSWORD."
        )
    if "does not exist" in reason:
        return UserError(f"{where}: {reason.splitlines()[0]}. Make it with createdb or createuser.")
    return UnreachableError(f"{where}: {reason.splitlines()[0]}. Check: pg_isready --dbname URL")


def _shown(url: str) -> str:
    """Return a URL without its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True).replace("+psycopg", "")
    except (ArgumentError, ValueError):
        return url.partition("://")[0] + "://..."


def _require(module: str, extra: str) -> None:
    import importlib.util

    if importlib.util.find_spec(module) is None:
        raise UserError(f"storage: needs the extra {extra!r}. Run: pip install 'hwnas[{extra}]'")
