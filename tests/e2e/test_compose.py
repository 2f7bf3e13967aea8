"""infra/compose.yaml, built and started for real: the README's tour, scaling under load, what may reach what."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.answers import QUESTION, text_of
from tests.support.containers import (
    INFRA,
    Containers,
    environment,
    follow,
    skip_without_engine,
    wait_for_index,
)
from tests.support.reader import Reader
from tests.support.system import ROOT

pytestmark = pytest.mark.timeout(420)  # the first build takes minutes

MODEL = "demo/300x20ms"
READERS = 12


@pytest.fixture(scope="module")
async def containers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Containers]:
    skip_without_engine()
    async with Containers(tmp_path_factory.mktemp("compose"), "compose.yaml") as made:
        yield made


async def check_whole(http: httpx.AsyncClient, answers: list[str], readers: list[Reader]) -> None:
    whole = text_of(MODEL)
    for answer, reader in zip(answers, readers, strict=True):
        assert reader.text == whole
        assert reader.done is not None
        assert reader.done["status"] == "completed"
        stored = (await http.get(f"/v1/answers/{answer}")).json()
        assert stored["text"] == whole


def checked(directory: Path, env: str) -> subprocess.CompletedProcess[str]:
    skip_without_engine()
    (directory / "some.env").write_text(env)
    return subprocess.run(
        ["docker", "compose", "--env-file", "some.env", "-f", str(INFRA / "compose.yaml"), "config", "-q"],
        cwd=directory,
        env=environment(directory),
        capture_output=True,
        text=True,
        check=False,
    )


def test_compose_refuses_to_start_without_secrets(tmp_path: Path) -> None:
    done = checked(tmp_path, "")
    assert done.returncode != 0
    assert "run ./unspool init first" in done.stderr


def test_secrets_of_before_there_was_a_grafana_are_enough_for_all_else(tmp_path: Path) -> None:
    names = ("UNSPOOL_API_KEY", "UNSPOOL_METRICS_KEY", "POSTGRES_PASSWORD", "NATS_PASSWORD")
    done = checked(tmp_path, "".join(f"{name}=something\n" for name in names))
    assert done.returncode == 0, done.stderr


async def test_the_tour_of_the_readme_runs_with_the_key(containers: Containers, tmp_path: Path) -> None:
    steps = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    tour = "\n".join(steps).replace("127.0.0.1:8000", f"127.0.0.1:{containers.port}")
    (tmp_path / ".curlrc").write_text(f'header = "Authorization: Bearer {containers.api_key}"\n')
    process = await asyncio.create_subprocess_exec(
        *("bash", "-eu", "-c", tour),
        cwd=tmp_path,
        env=os.environ | {"CURL_HOME": str(tmp_path), "HOME": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    said = printed.decode()
    assert process.returncode == 0, said
    assert '"status":"completed"' in said
    assert "event: token" in said


async def test_without_the_key_nobody_comes_in(containers: Containers) -> None:
    async with httpx.AsyncClient(base_url=containers.url, trust_env=False) as http:
        assert (await http.get("/v1/models")).status_code == 401
        assert (await http.get("/metrics")).status_code == 404  # through nginx it is not to be had at all


async def test_only_nginx_is_published_and_on_this_machine_only(containers: Containers) -> None:
    published = {
        (state["Service"], port["URL"])
        for state in await containers.states()
        for port in state["Publishers"] or []
        if port["PublishedPort"]
    }
    assert published == {("nginx", "127.0.0.1")}


@pytest.mark.parametrize("service", ["api", "generator"])
async def test_a_service_is_an_ordinary_user_on_a_file_system_it_cannot_change(
    containers: Containers, service: str
) -> None:
    assert (await containers("exec", "-T", service, "id", "-u")).strip() == "10001"
    refused = await containers("exec", "-T", service, "touch", "/srv/unspool/new", check=False)
    assert "Read-only file system" in refused
    tools = await containers("exec", "-T", service, "sh", "-c", "command -v cc gcc make pytest", check=False)
    assert tools.strip() == ""


async def test_a_generator_has_no_way_to_postgres(containers: Containers) -> None:
    probe = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2); print('reac' 'hed')"
    from_api = await containers("exec", "-T", "api", "python", "-c", probe, "postgres", "5432")
    assert "reached" in from_api
    from_generator = ("exec", "-T", "generator", "python", "-c", probe, "postgres", "5432")
    assert "reached" not in await containers(*from_generator, check=False)


async def test_scaling_up_and_down_under_load_loses_nothing(containers: Containers) -> None:
    async with containers.http() as http, asyncio.TaskGroup() as group:
        answers: list[str] = []
        following: list[asyncio.Task[Reader]] = []

        async def more() -> None:
            for _ in range(READERS // 3):
                answers.append(await containers.ask(http, MODEL, QUESTION))
                following.append(group.create_task(follow(http, answers[-1])))

        await more()
        await containers.scale(generator=4, api=2)
        await more()
        states = await containers.states()
        assert sum(state["Service"] == "generator" for state in states) == 4
        await containers.scale(generator=1, api=1)
        await more()
        readers = list(await asyncio.gather(*following))
        await check_whole(http, answers, readers)


async def test_an_api_that_is_restarted_under_its_watchers_costs_them_nothing(containers: Containers) -> None:
    async with containers.http() as http, asyncio.TaskGroup() as group:
        answers = [await containers.ask(http, MODEL, QUESTION) for _ in range(READERS)]
        readers = [Reader() for _ in answers]
        following = [
            group.create_task(follow(http, answer, reader))
            for answer, reader in zip(answers, readers, strict=True)
        ]
        await wait_for_index(readers, 20)
        await containers("restart", "api")
        await asyncio.gather(*following)
        await check_whole(http, answers, readers)


async def test_services_stop_at_once_and_in_good_order(containers: Containers) -> None:
    """PID 1 that hears no SIGTERM would be killed when its grace is over: 137."""
    await containers("stop", "api", "generator")
    codes = {state["Service"]: state["ExitCode"] for state in await containers.states()}
    assert codes["api"] == 0
    assert codes["generator"] == 0
