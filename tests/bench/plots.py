"""The plots of a run, as PNG files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from tests.bench.report import BASELINE, MEASURES, PRODUCT, TITLES, Medians, ratio

mpl.use("Agg")  # before pyplot is imported: no display is needed

import matplotlib.pyplot as plt

COLORS = {"direct": "#b0b0b0", "proxy": "#7aa6c2", "redis": "#d98c5f", "unspool": "#2f6f4f"}
PROCESS_COLORS = ("#2f6f4f", "#7aa6c2", "#d98c5f", "#8c6bb1", "#c9a227")
DOTS_PER_INCH = 110
PACED = ("50x50", "200x50", "1000x50")


def draw(found: Medians, directory: Path) -> list[Path]:
    """Writes each plot for which there are figures, and returns the files."""
    directory.mkdir(parents=True, exist_ok=True)
    plots: Mapping[str, Callable[[Medians, Any], bool]] = {
        "ratios": _draw_ratios,
        "latency": _draw_latency,
        "processor": _draw_processor,
    }
    files = []
    for name, draw_one in plots.items():
        figure, axes = plt.subplots(figsize=(9, 4.8), layout="constrained")
        if draw_one(found, axes):
            files.append(directory / f"{name}.png")
            figure.savefig(files[-1], dpi=DOTS_PER_INCH, metadata={"Software": None})
        plt.close(figure)
    return files


def _draw_ratios(found: Medians, axes: Any) -> bool:
    """Draws how many times better or worse the product is than baseline (b)."""
    rows = [(measure, ratio(found, measure, BASELINE)) for measure in MEASURES]
    better = [
        (f"{measure.title} ({measure.case})", value if measure.higher_is_better else 1 / value)
        for measure, value in reversed(rows)
        if value and value > 0
    ]
    if not better:
        return False
    colors = [COLORS[PRODUCT] if value >= 1 else COLORS[BASELINE] for _, value in better]
    bars = axes.barh([name for name, _ in better], [value for _, value in better], color=colors)
    axes.bar_label(bars, fmt="%.2g", padding=3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.margins(x=0.1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_title("Times as good as baseline (b): right of the line is better", loc="right")
    return True


def _draw_latency(found: Medians, axes: Any) -> bool:
    """Draws the latency of a token at a number of answers: p50 as bars, p99 as lines on top."""
    cases = [case for case in PACED if case in found]
    width = 0.8 / len(TITLES)
    for number, (name, title) in enumerate(TITLES.items()):
        figures = [found[case].get(name, {}) for case in cases]
        if not any(figures):
            continue
        places = [place + number * width for place in range(len(cases))]
        middle = [one.get("latency_p50_ms", 0.0) for one in figures]
        above = [
            max(0.0, one.get("latency_p99_ms", 0.0) - low) for one, low in zip(figures, middle, strict=True)
        ]
        axes.bar(places, middle, width, label=title, color=COLORS[name], yerr=[[0.0] * len(cases), above])
    axes.set_xticks(
        [place + 0.3 for place in range(len(cases))], [case.replace("x", " × ") for case in cases]
    )
    axes.set_yscale("log")
    axes.set_ylabel("ms, p50 and p99")
    axes.set_title("From the provider's sending of a token to its receipt; answers × tokens/s")
    axes.legend(loc="upper left")
    return bool(cases)


def _draw_processor(found: Medians, axes: Any) -> bool:
    """Draws the processor time of a short answer, by process."""
    prefix = "processor_ms."
    targets = {
        TITLES[name]: {
            key.removeprefix(prefix): one for key, one in figures.items() if key.startswith(prefix)
        }
        for name, figures in found.get("short-answer", {}).items()
    }
    targets = {title: parts for title, parts in targets.items() if parts}
    below = dict.fromkeys(targets, 0.0)
    kinds = list(dict.fromkeys(kind for parts in targets.values() for kind in parts))
    for kind, color in zip(kinds, PROCESS_COLORS, strict=False):
        heights = [parts.get(kind, 0.0) for parts in targets.values()]
        axes.bar(list(targets), heights, 0.5, bottom=list(below.values()), label=kind, color=color)
        below = {title: below[title] + height for title, height in zip(targets, heights, strict=True)}
    axes.set_ylabel("ms of processor time")
    axes.set_title("One short answer: create a chat, ask, read 3 tokens")
    axes.legend()
    return bool(targets)
