"""The embedded Postgres: on loopback TCP only, its files in the data directory.

The law of this file: Postgres refuses to run as root. Root's is run by an ordinary account of the system, which
owns the cluster and its password, and must be able to reach them and the programs.
"""

import os
import signal
from pathlib import Path

import asyncpg

from infra.local import binaries
from infra.local.accounts import account_for, can_run, cannot_enter
from infra.local.binaries import PostgresBinaries
from infra.local.data_directory import DataDirectory
from infra.local.postgres_cluster import (
    ACCESS,
    configuration,
    copy_programs,
    initdb_command,
    make_private_directory,
    stop_leftovers,
)
from infra.local.processes import Program, StartError, log_tail, spawn
from shared.domain.errors import ConfigurationError

USER = "unspool"
DATABASE = "unspool"
CONNECT_SECONDS = 2.0
LOG_LINES_SHOWN = 5


def url_at(port: int, password: str, database: str = DATABASE) -> str:
    """Holds the password: not to be shown."""
    return f"postgresql://{USER}:{password}@127.0.0.1:{port}/{database}?sslmode=disable"


class PostgresServer:
    name = "Postgres"

    def __init__(self, data: DataDirectory, *, durable: bool = True) -> None:
        """Not durable is for tests: a power cut may then cost the cluster."""
        self._data = data
        self._durable = durable
        self._cluster = data.path / "postgres"
        self._configuration = data.path / "postgres.conf"
        self._account = account_for(self._cluster)
        self.port = 0

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        return url_at(self.port, self._password(), database)

    def check(self) -> None:
        programs = self._reachable_programs()
        if self._cluster.exists():
            self._check_version(programs)

    async def prepare(self) -> Program:
        """Once, before the first start: what is started then, and after each crash. Its port stays the same."""
        programs = self._reachable_programs()
        if not self._cluster.exists():
            await self._make_cluster(programs)
        self.port = self._data.port("postgres")
        self._write_configuration()
        options = ("-D", str(self._cluster), "-c", f"config_file={self._configuration}")
        return self._program("postgres", (str(programs.postgres), *options))

    async def before_start(self) -> None:
        await stop_leftovers(self._cluster)

    async def is_ready(self) -> bool:
        """The first call that gets through also makes the database."""
        try:
            connection = await asyncpg.connect(self.url_of("postgres"), timeout=CONNECT_SECONDS)
        except asyncpg.InvalidPasswordError as error:
            password = self._data.secret_file("postgres")
            raise ConfigurationError(f"{password} does not hold the password of {self._cluster}") from error
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()
        return True

    def _reachable_programs(self) -> PostgresBinaries:
        found = binaries.postgres()
        if not self._account:
            return found
        if closed := cannot_enter(self._account, self._data.path):
            raise ConfigurationError(
                f"Postgres does not run as root, and its user {self._account.name} cannot enter {closed}: "
                f"open it (chmod o+x {closed}), or give another directory with --data"
            )
        if can_run(self._account, str(found.postgres), "--version"):
            return found
        return copy_programs(found, self._data.path / "programs")

    async def _make_cluster(self, programs: PostgresBinaries) -> None:
        """Aside, and moved to its place when it is whole."""
        self._password()  # is in its file from here on
        new = self._cluster.with_suffix(".new")
        make_private_directory(new, self._account)
        password_file = self._data.secret_file("postgres")
        command = initdb_command(programs, new, user=USER, password_file=password_file, durable=self._durable)
        initdb = self._program("initdb", command)
        process = await spawn(initdb)
        if await process.wait() != 0:
            raise StartError(f"cannot make a Postgres cluster:\n{log_tail(initdb.log, LOG_LINES_SHOWN)}")
        initdb.pid_file.unlink(missing_ok=True)
        new.rename(self._cluster)

    def _write_configuration(self) -> None:
        access = self._data.path / "postgres-access.conf"
        access.write_text(ACCESS)
        self._configuration.write_text(configuration(self.port, access, durable=self._durable))
        for file in (self._configuration, access):
            file.chmod(0o644)  # whatever the umask: the account reads them, and no secret is in them

    def _check_version(self, programs: PostgresBinaries) -> None:
        made_by, runs = (self._cluster / "PG_VERSION").read_text().strip(), programs.major_version()
        if made_by != str(runs):
            raise ConfigurationError(
                f"{self._cluster} was made by Postgres {made_by}, and {programs.postgres} is {runs}: move it away; "
                "it holds read models only, which are made again from the log"
            )

    def _password(self) -> str:
        return self._data.secret("postgres", self._account.uid if self._account else None)

    def _program(self, file_name: str, argv: tuple[str, ...]) -> Program:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return Program(
            name=self.name,
            argv=argv,
            log=self._data.logs / f"{file_name}.log",
            pid_file=self._data.run / f"{file_name}.pid",
            environ=environ | {"LC_ALL": "C"},  # messages in English, and no locale that the system lacks
            stop_signal=signal.SIGINT,  # "fast": it ends its clients' connections and does not wait for them
            kill_signal=signal.SIGQUIT,  # "immediate": the next start recovers
            account=self._account,
            directory=Path("/"),
        )
