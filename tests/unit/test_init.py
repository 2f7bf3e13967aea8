"""`unspool init`: secrets that are random, private, written once, and all that the compose files ask for."""

import re
import shutil
import ssl
from pathlib import Path

import pytest

from infra.deploy import init
from shared.domain.errors import ConfigurationError

INFRA = Path(init.__file__).parents[1]


def values(directory: Path) -> dict[str, str]:
    lines = (directory / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_secrets_are_random_private_and_safe_in_urls(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert init.main(tmp_path / name, cluster=False) == 0
    one, two = values(tmp_path / "one"), values(tmp_path / "two")
    assert len(set(one.values()) | set(two.values())) == len(init.NAMES) * 2
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9_-]{32}", value) for value in one.values())
    assert (tmp_path / "one" / ".env").stat().st_mode & 0o777 == 0o600


def test_what_is_there_is_never_written_over(tmp_path: Path) -> None:
    init.main(tmp_path, cluster=False)
    before = (tmp_path / ".env").read_bytes()
    with pytest.raises(ConfigurationError, match="was not changed"):
        init.main(tmp_path, cluster=False)
    assert (tmp_path / ".env").read_bytes() == before


def test_what_an_earlier_version_did_not_write_is_added_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    init.main(tmp_path, cluster=False)
    before = re.sub(r"\n# [^\n]*\nGRAFANA_PASSWORD=.*\n", "", path.read_text()) + "UNSPOOL_PORT=8001"
    path.write_text(before)
    assert init.main(tmp_path, cluster=False) == 0
    after = path.read_text()
    assert after.startswith(before + "\n")
    added = after.removeprefix(before).splitlines()
    assert [line.partition("=")[0] for line in added if "=" in line] == ["GRAFANA_PASSWORD"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_every_variable_that_compose_insists_on_is_written(tmp_path: Path) -> None:
    init.main(tmp_path, cluster=False)
    files = [INFRA / "compose.yaml", INFRA / "compose.cluster.yaml"]
    asked = {name for file in files for name in re.findall(r"(?<!\$)\$\{(\w+):\?", file.read_text())}
    # Compose insists on variables of services that it does not start, too: Grafana insists by itself.
    assert asked | {"GRAFANA_PASSWORD"} == set(values(tmp_path))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_the_nodes_certificate_is_of_the_authority_that_is_written_beside_it(tmp_path: Path) -> None:
    init.main(tmp_path, cluster=True)
    made = tmp_path / "certificates"
    assert made.stat().st_mode & 0o777 == 0o700
    assert sorted(file.name for file in made.iterdir()) == ["ca.pem", "nats.key", "nats.pem"]
    server, client = (
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        ssl.create_default_context(cafile=made / "ca.pem"),
    )
    server.load_cert_chain(made / "nats.pem", made / "nats.key")
    for name in ("nats", "nats-2", "nats-3"):
        assert _shakes_hands(server, client, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        _shakes_hands(server, client, "nats-4")


def _shakes_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(5):
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
    return not ends
