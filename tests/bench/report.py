"""The table of a run: medians of its rounds, and ratios to the baselines of the same run."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from infra.chaos.fleet import ROOT
from tests.bench.cases import Figures

Rounds = Mapping[str, Mapping[str, Sequence[Figures]]]
"""Figures of each round, by case and target."""
Medians = Mapping[str, Mapping[str, Figures]]
TITLES = {"direct": "provider alone", "proxy": "(a)", "redis": "(b)", "unspool": "Unspool"}
PRODUCT, BASELINE = "unspool", "redis"
NONE = "–"


class Measure(Struct, frozen=True):
    """One row of the table."""

    case: str
    figure: str
    title: str
    unit: str
    aim: str = ""
    """The aim for the product's ratio to baseline (b)."""
    higher_is_better: bool = False


MEASURES = (
    Measure(
        "short-answer", "first_token_p50_ms", "first token, chat and question included, p50", "ms", "≤ 2"
    ),
    Measure("short-answer", "processor_ms", "processor time of one short answer, all processes", "ms", "≤ 2"),
    Measure("50x50", "latency_p50_ms", "50 answers at 50 tokens/s, p50", "ms", "≤ 1.5"),
    Measure("50x50", "latency_p99_ms", "… p99", "ms"),
    Measure("50x50", "processor_s_per_1m", "… processor time of 1M tokens", "s", "≤ 0.8"),
    Measure("200x50", "latency_p50_ms", "200 answers at 50 tokens/s, p50", "ms", "≤ 1"),
    Measure("200x50", "processor_s_per_1m", "… processor time of 1M tokens", "s", "≤ 0.7"),
    Measure("1000x50", "tokens_per_second", "1,000 answers, all asked within 2 s", "tokens/s", "≥ 1.5", True),
    Measure("burst", "tokens_per_second", "64 answers without pace", "tokens/s", "≥ 1.5", True),
    Measure(
        "fan-out", "tokens_per_second", "1 answer at 50 tokens/s, many watchers", "tokens/s", "≥ 1.3", True
    ),
    Measure("fan-out", "latency_p50_ms", "… p50", "ms"),
    Measure("fan-out", "latency_p99_ms", "… p99", "ms"),
    Measure(
        "resume", "caught_up_p50_ms", "resume in mid-answer, 300 tokens missed, caught up, p50", "ms", "≤ 0.5"
    ),
    Measure("idle-watchers", "memory_kb_per_watcher", "memory of the API per idle watcher", "kB", "≤ 0.3"),
    Measure("crash", "exact_answers", "exact answers, API and worker killed -9", "", "", True),
)


def medians(rounds: Rounds) -> Medians:
    """Returns the median of each figure, by case and target."""
    return {case: {name: _median(each) for name, each in targets.items()} for case, targets in rounds.items()}


def _median(rounds: Sequence[Figures]) -> Figures:
    names = dict.fromkeys(name for figures in rounds for name in figures)
    return {name: statistics.median(one[name] for one in rounds if name in one) for name in names}


def describe_run(arguments: Sequence[str]) -> dict[str, Any]:
    """Returns what somebody needs to judge the figures: commit, machine, and how busy it was before."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "arguments": list(arguments),
        "commit": commit,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "load_average_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
    }


def write_json(path: Path, run: Mapping[str, Any], rounds: Rounds) -> None:
    document = {"run": run, "medians": medians(rounds), "rounds": rounds}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> tuple[dict[str, Any], Rounds]:
    """Returns the run and its rounds."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return document["run"], document["rounds"]


def ratio(found: Medians, measure: Measure, to: str) -> float | None:
    """Returns the product's figure as a ratio to that of a baseline; None if one of them is missing."""
    by_target = found.get(measure.case, {})
    one, other = by_target.get(PRODUCT, {}).get(measure.figure), by_target.get(to, {}).get(measure.figure)
    return one / other if one is not None and other else None


def table(found: Medians) -> str:
    """Returns the main table as Markdown. A dash stands for what a target cannot do, or what was not measured."""
    ratios = {f"Unspool / {TITLES[name]}": name for name in ("proxy", BASELINE)}
    lines = [_row("measure", *TITLES.values(), *ratios, "aim"), _row("---", *["---:"] * (len(TITLES) + 3))]
    for measure in MEASURES:
        by_target = found.get(measure.case, {})
        figures = [by_target.get(name, {}).get(measure.figure) for name in TITLES]
        if any(figure is not None for figure in figures):
            title = f"{measure.title}, {measure.unit}" if measure.unit else measure.title
            shown = [ratio(found, measure, name) for name in ratios.values()]
            lines.append(_row(title, *map(show, figures), *map(show, shown), measure.aim or NONE))
    return "\n".join(lines)


def split_table(found: Medians) -> str:
    """Returns where the processor time of a short answer goes, as Markdown; '' if it was not measured."""
    name = "processor_ms"
    lines = [_row("target", "processor time of one short answer, ms"), _row("---", "---")]
    for case, titles in (
        ("short-answer", TITLES),
        ("one-call", {PRODUCT: "Unspool, asked and read in one call"}),
    ):
        for target, title in titles.items():
            figures = found.get(case, {}).get(target, {})
            parts = [
                f"{key.removeprefix(f'{name}.')} {show(value)}"
                for key, value in figures.items()
                if key.startswith(f"{name}.")
            ]
            if parts:
                messages = figures.get("nats_messages")
                counted = f"; {show(messages)} messages of NATS" if messages else ""
                lines.append(_row(title, f"{show(figures[name])}: {', '.join(parts)}{counted}"))
    return "\n".join(lines) if len(lines) > 2 else ""


def details(found: Medians) -> str:
    """Returns every figure, a line for each case and target."""
    lines = []
    for case, by_target in found.items():
        for target, figures in by_target.items():
            if figures:
                shown = "  ".join(f"{name} {show(value)}" for name, value in figures.items())
                lines.append(f"{case:13} {target:8} {shown}")
    return "\n".join(lines)


def show(value: float | None) -> str:
    """Returns a figure with three digits that count."""
    if value is None:
        return NONE
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
