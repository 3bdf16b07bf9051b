"""Servers of studies for tests, each a process of its own: PostgreSQL and the gRPC proxy."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

_UNPRIVILEGED = "nobody"


def wait_until(is_so: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class PostgresServer:
    """A cluster in a temporary folder, that can be restarted; TCP on 127.0.0.1 only."""

    def __init__(self) -> None:
        programs = _postgres_programs()
        if programs is None:
            if os.environ.get("HWNAS_REQUIRE_ALL"):
                pytest.fail("PostgreSQL's server is missing: apt install postgresql")
            pytest.skip("needs PostgreSQL's server: apt install postgresql")
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="hwnas-postgres-"))
        self.port = free_port()
        # the server refuses to run as root
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        if self._user is not None:
            account = pwd.getpwnam(self._user)
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        password = self._folder / "password"
        password.write_text("secret")
        password.chmod(0o644)
        self._run(
            "initdb", "--pgdata", str(self._data), "--username", "hwnas", "--auth", "scram-sha-256",
            "--pwfile", str(password), "--encoding", "UTF8", "--no-sync",
        )  # fmt: skip
        self.start()
        self.new_database("hwnas")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def url(self, database: str = "hwnas", password: str = "secret") -> str:
        return f"postgresql://hwnas:{password}@127.0.0.1:{self.port}/{database}"

    def new_database(self, name: str) -> str:
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[call-overload]
        return self.url(name)

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder}"
        self._run(
            "pg_ctl", "start", "--pgdata", str(self._data), "--wait", "--options", options,
            "--log", str(self._folder / "log"),
        )  # fmt: skip

    def stop(self) -> None:
        # immediate: as in a crash, no connection is waited for
        self._run("pg_ctl", "stop", "--pgdata", str(self._data), "--wait", "--mode", "immediate")

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        # outputs to files: a server started keeps them open
        with (self._folder / "output").open("w+") as output:
            done = subprocess.run(
                command,
                user=self._user,
                group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
                extra_groups=None if self._user is None else [],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=120,
            )
            output.seek(0)
            if done.returncode != 0:
                raise RuntimeError(f"{program}: {output.read()}")


def _postgres_programs() -> Path | None:
    found = shutil.which("initdb")
    if found and (Path(found).resolve().parent / "pg_ctl").exists():
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


class ProxyServer:
    """`serve_storage` in a process, that can be killed and started again."""

    def __init__(self, location: str) -> None:
        self._location = location
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def start(self) -> None:
        code = f"from hwnas.storages import *; serve_storage({self._location!r}, port={self.port})"
        self._process = subprocess.Popen([sys.executable, "-c", code])
        wait_until(self._answers, "the proxy does not listen")

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0
