"""Which servers a command finds that is run beside `unspool up`."""

from pathlib import Path

import pytest

from infra.local.data_directory import DataDirectory
from infra.local.embedded import with_embedded
from shared.domain.errors import ConfigurationError
from shared.settings import Settings


@pytest.fixture
def data(data_directory: Path, monkeypatch: pytest.MonkeyPatch) -> DataDirectory:
    for name in ("UNSPOOL_NATS_URL", "UNSPOOL_POSTGRES_URL", "UNSPOOL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(data_directory)
    directory = DataDirectory(data_directory)
    directory.make()
    return directory


def test_both_servers_are_found_in_the_data_directory(data: DataDirectory) -> None:
    nats, postgres = data.port("nats"), data.port("postgres")
    for name in ("nats", "postgres"):
        data.secret(name)
    found = with_embedded(Settings(), data.path)
    assert found.nats_url == f"nats://unspool:{data.secret('nats')}@127.0.0.1:{nats}"
    where = f"127.0.0.1:{postgres}/unspool?sslmode=disable"
    assert found.postgres_url == f"postgresql://unspool:{data.secret('postgres')}@{where}"


def test_a_server_that_was_given_is_used_and_the_other_is_found(
    data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nats", "postgres"):
        data.port(name)
        data.secret(name)
    monkeypatch.setenv("UNSPOOL_NATS_URL", "nats://elsewhere:4222")
    found = with_embedded(Settings(nats_url="nats://elsewhere:4222"), data.path)
    assert found.nats_url == "nats://elsewhere:4222"
    assert data.secret("postgres") in found.postgres_url
    config = data.path / "own.toml"
    config.write_text('postgres_url = "postgresql://there/db"')
    found = with_embedded(Settings(postgres_url="postgresql://there/db"), data.path, config)
    assert found.postgres_url == "postgresql://there/db"


def test_a_directory_without_servers_is_said_to_be_none(data: DataDirectory) -> None:
    with pytest.raises(ConfigurationError, match="not a data directory"):
        with_embedded(Settings(), data.path)
