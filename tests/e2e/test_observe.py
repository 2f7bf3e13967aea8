"""Profile `observe`: Prometheus finds every container and scrapes it with the key; Grafana shows the dashboard."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.answers import QUESTION
from tests.support.containers import INFRA, Containers, follow, skip_without_engine
from tests.support.scrape import Prometheus

pytestmark = pytest.mark.timeout(420)

TARGETS_SECONDS = 90.0
RULES = (INFRA / "prometheus" / "rules.yml").read_text()


def skip_without_image(service: str) -> None:
    compose = (INFRA / "compose.yaml").read_text()
    (image,) = re.findall(rf"image: (\S*{service}:\S+)", compose)
    commands = (["docker", "image", "inspect", image], ["docker", "pull", "--quiet", image])
    if all(subprocess.run(command, capture_output=True, check=False).returncode for command in commands):
        pytest.skip(f"no {image} here, and no registry that has it")


@pytest.fixture(scope="module")
async def containers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Containers]:
    skip_without_engine()
    skip_without_image("prometheus")
    async with Containers(tmp_path_factory.mktemp("observe"), "compose.yaml") as made:
        await made.scale(generator=2)
        await made("up", "--detach", "--wait", "prometheus")
        yield made


async def test_prometheus_scrapes_every_container_with_the_key_and_has_all_rules(
    containers: Containers,
) -> None:
    prometheus = Prometheus(containers.prometheus_url)
    wanted = ["unspool-api", "unspool-generator", "unspool-generator"]
    async with asyncio.timeout(TARGETS_SECONDS):
        while True:
            targets = (await prometheus.get("targets", state="active"))["activeTargets"]
            if sorted(one["labels"]["job"] for one in targets if one["health"] == "up") == wanted:
                break
            await asyncio.sleep(0.5)
    assert len(targets) == len(wanted), "each container once"
    rules = [rule for group in (await prometheus.get("rules"))["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == set(re.findall(r"- (?:alert|record): (\S+)", RULES))
    assert not [rule for rule in rules if rule["health"] == "err"]
    async with containers.http() as http:
        await follow(http, await containers.ask(http, "demo/20x5ms", QUESTION))
    await prometheus.until("unspool_first_token_seconds_count > 0")


async def test_prometheus_has_no_way_in_but_the_numbers(containers: Containers) -> None:
    async def fetch(url: str, header: str = "") -> str:
        command = f"wget -q -T 3 -O - {header} http://{url} && echo fetched"
        return await containers("exec", "-T", "prometheus", "sh", "-c", command, check=False)

    key = '--header "Authorization: Bearer $(cat /etc/unspool/metrics_key)"'
    for url in ("api:8000", "generator:9101"):
        assert "fetched" in await fetch(f"{url}/metrics", key)
        assert "fetched" not in await fetch(f"{url}/metrics")
    assert "fetched" not in await fetch("api:8000/v1/models", key)
    health = ("wget", "-q", "-O", "-", "http://127.0.0.1:8222/healthz")
    assert "ok" in await containers("exec", "-T", "nats", *health)
    assert "fetched" not in await fetch("nats:8222/healthz")
    refused = await containers("exec", "-T", "prometheus", "touch", "/bin/new", check=False)
    assert "Read-only file system" in refused
    ports = {
        port["URL"]
        for state in await containers.states()
        if state["Service"] == "prometheus"
        for port in state["Publishers"] or []
        if port["PublishedPort"]
    }
    assert ports == {"127.0.0.1"}


async def test_grafana_shows_the_dashboard_to_who_has_the_password(containers: Containers) -> None:
    skip_without_image("grafana")
    await containers("up", "--detach", "--wait", "grafana")
    person = ("admin", containers.secret("GRAFANA_PASSWORD"))
    async with httpx.AsyncClient(base_url=containers.grafana_url, trust_env=False) as http:
        for auth in (None, ("admin", "admin")):
            assert (await http.get("/api/dashboards/uid/unspool", auth=auth)).status_code == 401
        found = await http.get("/api/dashboards/uid/unspool", auth=person)
        assert found.json()["dashboard"]["title"] == "Unspool"
        source = await http.get("/api/datasources/uid/prometheus/health", auth=person)
        assert source.json()["status"] == "OK", source.text
