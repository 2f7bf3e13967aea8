"""The embedded Postgres: on loopback TCP only, with its files in the data directory.

Postgres refuses to run as root. Root starts it as another account, which owns the cluster and its password, and must
be able to access them and the programs.
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
    """Returns the URL with the password. Do not print it."""
    return f"postgresql://{USER}:{password}@127.0.0.1:{port}/{database}?sslmode=disable"


class PostgresServer:
    """Prepares the embedded Postgres as a `Server`. The supervisor owns its process."""

    name = "Postgres"

    def __init__(self, data: DataDirectory, *, durable: bool = True) -> None:
        """Takes `durable=False` for tests: a power failure may then corrupt the cluster."""
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
        """Returns the URL of a database of this server, with the password."""
        return url_at(self.port, self._password(), database)

    def check(self) -> None:
        """Raises `ConfigurationError` if Postgres is not installed or its version does not fit the cluster."""
        programs = self._reachable_programs()
        if self._cluster.exists():
            self._check_version(programs)

    async def prepare(self) -> Program:
        """Creates the cluster if needed, and returns the program for every start. Call it once."""
        programs = self._reachable_programs()
        if not self._cluster.exists():
            await self._make_cluster(programs)
        self.port = self._data.port("postgres")
        self._write_configuration()
        options = ("-D", str(self._cluster), "-c", f"config_file={self._configuration}")
        return self._program("postgres", (str(programs.postgres), *options))

    async def before_start(self) -> None:
        """Ends the remaining processes of a killed server."""
        await stop_leftovers(self._cluster)

    async def is_ready(self) -> bool:
        """Returns True if Postgres accepts connections. Creates the database if it does not exist.

        Raises `ConfigurationError` if the password is wrong.
        """
        try:
            connection = await asyncpg.connect(self.url_of("postgres"), timeout=CONNECT_SECONDS)
        except asyncpg.InvalidPasswordError as error:
            password = self._data.secret_file("postgres")
            raise ConfigurationError(f"{password} is not the password of {self._cluster}") from error
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
                f"open it (chmod o+x {closed}), or choose another directory with --data"
            )
        if can_run(self._account, str(found.postgres), "--version"):
            return found
        return copy_programs(found, self._data.path / "programs")

    async def _make_cluster(self, programs: PostgresBinaries) -> None:
        """Creates the cluster in a new directory and renames it when it is complete."""
        self._password()  # creates the password file
        new = self._cluster.with_suffix(".new")
        make_private_directory(new, self._account)
        password_file = self._data.secret_file("postgres")
        command = initdb_command(programs, new, user=USER, password_file=password_file, durable=self._durable)
        initdb = self._program("initdb", command)
        process = await spawn(initdb)
        if await process.wait() != 0:
            raise StartError(f"cannot create a Postgres cluster:\n{log_tail(initdb.log, LOG_LINES_SHOWN)}")
        initdb.pid_file.unlink(missing_ok=True)
        new.rename(self._cluster)

    def _write_configuration(self) -> None:
        access = self._data.path / "postgres-access.conf"
        access.write_text(ACCESS)
        self._configuration.write_text(configuration(self.port, access, durable=self._durable))
        for file in (self._configuration, access):
            file.chmod(0o644)  # override the umask: the account reads them; they hold no secrets

    def _check_version(self, programs: PostgresBinaries) -> None:
        made_by, runs = (self._cluster / "PG_VERSION").read_text().strip(), programs.major_version()
        if made_by != str(runs):
            raise ConfigurationError(
                f"{self._cluster} was created by Postgres {made_by}, but {programs.postgres} is {runs}: move it away; "
                "it contains read models only, which are rebuilt from the log"
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
            environ=environ | {"LC_ALL": "C"},  # English messages; the system may lack other locales
            stop_signal=signal.SIGINT,  # "fast" shutdown: it closes the clients' connections
            kill_signal=signal.SIGQUIT,  # "immediate" shutdown: the next start recovers
            account=self._account,
            directory=Path("/"),
            address=f"127.0.0.1:{self.port}" if self.port else "",
        )
