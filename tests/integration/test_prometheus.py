"""Rules and dashboard, held against Prometheus itself: the rules by its own tool, the queries by data of a real system."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.reader import Reader
from tests.support.scrape import Prometheus
from tests.support.servers import NatsProcess, PostgresProcess, free_port, temporary_data
from tests.support.system import ROOT, Client, System

FILES = ROOT / "infra" / "prometheus"
DASHBOARD = ROOT / "infra" / "grafana" / "unspool.json"
PROMETHEUS = shutil.which("prometheus") or ""
PROMTOOL = shutil.which("promtool") or ""
GRID_WIDTH = 24
METRICS_KEY = "of-metrics-only"
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="no promtool here: it comes with Prometheus")
needs_prometheus = pytest.mark.skipif(not PROMETHEUS, reason="no prometheus here")


def _tool(*arguments: str) -> None:
    done = subprocess.run([PROMTOOL, *arguments], cwd=FILES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_rules_and_configuration_are_valid() -> None:
    _tool("check", "rules", "rules.yml")
    _tool("check", "config", "--syntax-only", "prometheus.yml")


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then() -> None:
    _tool("test", "rules", "rules_test.yml")


def queries() -> list[str]:
    """All of the dashboard's, with Grafana's own variable replaced."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [query.replace("$__rate_interval", "30s") for query in found]


def test_every_metric_of_dashboard_and_rules_is_one_of_ours() -> None:
    sources = [ROOT / "shared/metrics.py", *(ROOT / "services").glob("*/metrics.py")]
    defined = {name for path in sources for name in re.findall(r'"(unspool_\w+)"', path.read_text())}
    used = set(re.findall(r"\bunspool_\w+", " ".join(queries()) + (FILES / "rules.yml").read_text()))
    bare = {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in used}
    assert bare <= defined
    assert used


def test_every_alert_is_in_the_operators_guide_and_no_other() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (FILES / "rules.yml").read_text()))
    guide = (ROOT / "docs" / "operations.md").read_text()
    section = guide.split("## Alerts\n")[1].split("\n## ")[0]
    told = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(told) == sorted(alerts)


def test_the_dashboard_is_what_grafana_takes() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert 0 <= at["x"] <= at["x"] + at["w"] <= GRID_WIDTH, panel["title"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(letters)) == len(letters)
        assert bool(letters) == (panel["type"] != "row"), panel["title"]
    assert all(query.strip() for query in queries())


def test_the_dashboard_finds_the_datasource_that_is_provisioned_and_grafana_the_dashboard() -> None:
    """The dashboard's variable stands for any Prometheus; ours is the default."""
    provisioning = DASHBOARD.parent / "provisioning"
    (variable,) = json.loads(DASHBOARD.read_text())["templating"]["list"]
    named = set(re.findall(r'"uid": "([^"]+)"', DASHBOARD.read_text())) - {"unspool"}
    assert (variable["type"], variable["query"], named) == ("datasource", "prometheus", {"${datasource}"})
    datasource = (provisioning / "datasources" / "prometheus.yml").read_text()
    assert "type: prometheus" in datasource
    assert "isDefault: true" in datasource
    (path,) = re.findall(r"path: (\S+)", (provisioning / "dashboards" / "unspool.yml").read_text())
    compose = (ROOT / "infra" / "compose.yaml").read_text()
    assert f"./grafana/unspool.json:{path}/unspool.json:ro" in compose


@contextlib.asynccontextmanager
async def prometheus(directory: Path, targets: dict[str, str]) -> AsyncIterator[Prometheus]:
    """With our rules, scraping often: a test has no quarter of a minute to wait."""
    authorization = {"type": "Bearer", "credentials": METRICS_KEY}
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [target]}], "authorization": authorization}
        for job, target in targets.items()
    ]
    rules = (FILES / "rules.yml").read_text().replace("interval: 30s", "interval: 1s")
    (directory / "rules.yml").write_text(rules)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": jobs,
    }
    (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        PROMETHEUS,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )
    try:
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        await process.wait()


async def _use(client: Client) -> None:
    for _ in range(3):
        asked = await client.ask_new_chat("demo/20x5ms")
        reader = await Reader().read(client, asked["answer"])
        assert reader.done is not None


@needs_prometheus
@pytest.mark.timeout(240)
async def test_every_query_of_the_dashboard_gives_data_of_a_running_system_and_nothing_is_alarmed() -> None:
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(temporary_data())
        nats = await stack.enter_async_context(NatsProcess(directory / "nats"))
        postgres = await stack.enter_async_context(PostgresProcess(directory / "postgres"))
        system = System(nats.url, postgres.url, directory, metrics_key=METRICS_KEY)
        await stack.enter_async_context(system)
        api, generator = (urls[0].removeprefix("http://") for urls in (system.urls, system.generator_urls))
        targets = {"unspool-api": api, "unspool-generator": generator}
        asked = await stack.enter_async_context(prometheus(directory, targets))
        client = await stack.enter_async_context(system.client())
        await asked.until('sum(up{job=~"unspool-.*"}) == 2')
        # Twice: the first gives series their beginning, and only then a rate sees them rise.
        await _use(client)
        await asked.until("unspool_first_token_seconds_count >= 3")
        await asked.until('unspool_http_first_byte_seconds_count{route=~".*messages"} >= 3')
        await asked.until('unspool_append_seconds_count{job="unspool-generator",stream="chats"} >= 3')
        await _use(client)
        await asked.until("sum(increase(unspool_answers_total[30s])) >= 1")
        await asked.until("unspool:answers:bad_ratio_3d")
        await asked.until("rate(unspool_first_token_seconds_count[30s]) > 0")
        await asked.until("unspool:first_token:bad_ratio_3d and on () unspool:first_byte:bad_ratio_3d")
        # None may be empty, not even those that tell of faults: what counts them begins at zero.
        empty = [query for query in queries() if not await asked.query(query)]
        assert "\n".join(empty) == ""
        assert await asked.query('ALERTS{alertname!~"UnspoolFirst.*",alertstate="firing"}') == []
