"""The programs of docs/examples and the example page, run against a real system: stopped, started again, nothing missing."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.reader import Reader
from tests.support.system import ROOT, Client, System

EXAMPLES = ROOT / "docs" / "examples"
PAGES = ROOT / "services" / "api" / "http" / "pages"
TOKENS_BEFORE_STOP = 5
PATIENCE_SECONDS = 60.0

CLOSED_PAGE_IN_NODE = """
// A browser whose EventSource got another status than 200. Argument 1: the script, 2: the status of the answer.
import fs from "node:fs";
import vm from "node:vm";
const [script, status] = process.argv.slice(2);
const kept = new Map([["unspool-example", JSON.stringify({ stream: "/v1/answers/a/stream", text: "", done: "" })]]);
class EventSource {
  static CLOSED = 2;
  constructor() { this.readyState = 2; this.handlers = {}; setTimeout(() => this.handlers.error({}), 1); }
  addEventListener(name, handler) { this.handlers[name] = handler; }
  close() {}
}
const elements = {};
const document = { getElementById: (id) => (elements[id] ??= { textContent: "", addEventListener() {} }) };
const sessionStorage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value),
  removeItem: (key) => kept.delete(key) };
const at_once = (call) => setTimeout(call, 1);
vm.runInNewContext(fs.readFileSync(script, "utf8"), { document, sessionStorage, EventSource, setTimeout: at_once,
  fetch: async () => ({ status: Number(status) }), JSON, Math, Promise, encodeURIComponent, String });
setTimeout(() => console.log(JSON.stringify({ state: elements.state.textContent, kept: kept.size > 0 })), 300);
"""
PAGE_IN_NODE = """
// The parts of a browser that the page uses. Argument 1: the script, 2: the server.
import fs from "node:fs";
import vm from "node:vm";
const [script, url] = process.argv.slice(2);
const kept = new Map();
let tokens = 0, reload = () => {};

class EventSource {
  constructor(path) { this.handlers = {}; this.abort = new AbortController(); this.read(new URL(path, url + "/example")); }
  addEventListener(name, handler) { this.handlers[name] = handler; }
  close() { this.abort.abort(); }
  async read(address) {
    try {
      const response = await fetch(address, { signal: this.abort.signal });
      let buffer = "", id = "";
      for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        const frames = (buffer + chunk).split("\\n\\n");
        buffer = frames.pop();
        for (const frame of frames) {
          const fields = Object.fromEntries(frame.split("\\n").map((line) => line.split(/: (.*)/s)));
          if (!fields.event) continue;
          id = fields.id ?? id;
          this.handlers[fields.event]?.({ data: fields.data, lastEventId: id });
          if (fields.event === "token" && ++tokens === 5) { reload(); return; }
        }
      }
    } catch (error) { if (error.name !== "AbortError") throw error; }
  }
}

function load() {
  const elements = {};
  const element = () => ({ handlers: {}, value: "What outlives a process?", textContent: "",
    addEventListener(name, handler) { this.handlers[name] = handler; } });
  const document = { getElementById: (id) => (elements[id] ??= element()) };
  const sessionStorage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
  const resolved = (path, options) => fetch(new URL(path, url + "/example"), options);
  vm.runInNewContext(fs.readFileSync(script, "utf8"),
    { document, sessionStorage, EventSource, fetch: resolved, JSON, encodeURIComponent, String });
  return elements;
}

let page = load();
const reloaded = new Promise((resolve) => { reload = () => { page = load(); resolve(); }; });
await page.form.handlers.submit({ preventDefault() {} });
await reloaded;
while (page.state.textContent !== "completed") await new Promise((resolve) => setTimeout(resolve, 20));
const answer = JSON.parse([...kept.values()][0]);
console.log(JSON.stringify({ text: page.text.textContent, answer: answer.stream.split("/")[3] }));
"""


async def run(*command: str | Path, stop: bool = False, status: int = 0) -> tuple[str, str]:
    """Runs a program and returns what it printed to both streams. Kills it after some tokens if `stop` is set."""
    environ = os.environ | {"PYTHONPATH": str(ROOT / "shared" / "client")}
    process = await asyncio.create_subprocess_exec(
        *map(str, command), env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    assert process.stdout is not None
    reading = asyncio.create_task(process.stdout.read())
    lines, cursors = [], 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for line in process.stderr:
            lines.append(line.decode())
            cursors += lines[-1].startswith("cursor ")
            if stop and cursors == TOKENS_BEFORE_STOP:
                process.kill()
        printed = (await reading).decode()
        ended = await process.wait()
    assert stop or ended == status, "".join(lines)
    return printed, "".join(lines)


def last(word: str, errors: str) -> str:
    return [line.split()[1] for line in errors.splitlines() if line.startswith(f"{word} ")][-1]


async def text_of(client: Client, answer: str) -> str:
    return str((await client.answer(answer))["text"])


@pytest.mark.parametrize("program", [[sys.executable, "ask.py"], ["node", "ask.mjs"]], ids=["python", "node"])
async def test_a_program_that_was_killed_goes_on_with_exactly_the_missing_tokens(
    system: System, program: list[str]
) -> None:
    if shutil.which(program[0]) is None:
        pytest.skip(f"no {program[0]} here")
    command = (program[0], EXAMPLES / program[1], system.urls[0])
    first, told = await run(*command, stop=True)
    answer, cursor = last("answer", told), last("cursor", told)
    rest, _ = await run(command[0], command[1], system.urls[1], answer, cursor)
    rest = rest.removesuffix("\ncompleted\n")
    async with system.client() as client:
        whole = await text_of(client, answer)
    assert whole.startswith(first)
    assert whole.endswith(rest)
    # A token that was printed just before the kill has no cursor yet: it comes again.
    assert len(whole) <= len(first) + len(rest) < len(whole) + len(first)


async def test_a_program_ends_where_nothing_follows_and_where_the_answer_is_unknown(system: System) -> None:
    if shutil.which("node") is None:
        pytest.skip("no node here")
    async with system.client() as client:
        asked = await client.ask_new_chat("demo/3x1ms")
        done = (await Reader().read(client, asked["answer"])).cursor
    assert done is not None
    printed, _ = await run("node", EXAMPLES / "ask.mjs", system.urls[0], asked["answer"], done)
    assert printed == "\nended before\n"
    _, told = await run("node", EXAMPLES / "ask.mjs", system.urls[0], f"{asked['answer'][:-1]}_", status=1)
    assert "Not found" in told
    assert "interrupted" not in told


@pytest.mark.parametrize(
    ("status", "said", "kept"),
    [(404, "does not exist any more", False), (401, "wants an API key", True)],
)
async def test_the_page_says_why_it_cannot_connect_again(
    tmp_path: Path, status: int, said: str, *, kept: bool
) -> None:
    if shutil.which("node") is None:
        pytest.skip("no node here")
    harness = tmp_path / "closed.mjs"
    harness.write_text(CLOSED_PAGE_IN_NODE, encoding="utf-8")
    printed, _ = await run("node", harness, PAGES / "example.js", str(status))
    shown = json.loads(printed)
    assert said in shown["state"]
    assert shown["kept"] is kept


async def test_the_shell_script_streams_an_answer_to_its_end(system: System) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    printed, told = await run("sh", EXAMPLES / "ask.sh", system.urls[0])
    assert "event: token" in printed
    assert '"status":"completed"' in printed
    again, _ = await run("sh", EXAMPLES / "ask.sh", system.urls[0], last("answer", told), "1.5")
    assert "id: 1.6\n" in again
    assert "id: 1.5\n" not in again


async def test_the_page_continues_an_answer_after_a_reload(system: System, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("no node here")
    harness = tmp_path / "page.mjs"
    harness.write_text(PAGE_IN_NODE, encoding="utf-8")
    printed, _ = await run("node", harness, PAGES / "example.js", system.urls[0])
    shown = json.loads(printed)
    async with system.client() as client:
        assert shown["text"] == await text_of(client, shown["answer"])


async def test_the_address_leads_to_the_docs_and_the_page_loads_nothing_from_elsewhere(
    system: System,
) -> None:
    async with system.client() as client:
        root = await client.http.get("/")
        assert (root.status_code, root.headers["location"]) == (307, "docs")
        assert (await client.http.get("/", follow_redirects=True)).status_code == 200
        page, script = await client.http.get("/example"), await client.http.get("/example.js")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    assert page.text == (PAGES / "example.html").read_text(encoding="utf-8")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "innerHTML" not in script.text
