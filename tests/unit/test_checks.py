"""Which tests each lane of `unspool test` runs. What the lanes find is what CI runs."""

from click.testing import CliRunner

from infra.checks import CHECKS, pytest_step
from infra.cli import commands


def test_the_whole_suite_is_spread_over_the_processors_and_shows_its_slowest() -> None:
    step = pytest_step((), fast=False, processors=2)
    assert step[:4] == ("-m", "pytest", "-n", "2")
    assert "--durations=10" in step
    assert not [argument for argument in step if argument.startswith("tests/")]


def test_many_processors_start_no_more_servers_than_the_bound() -> None:
    assert pytest_step((), fast=False, processors=64)[3] == "4"


def test_the_fast_lane_runs_every_unit_test_in_one_process() -> None:
    assert pytest_step((), fast=True, processors=2) == ("-m", "pytest", "tests/unit")


def test_paths_and_options_go_to_pytest_as_they_are() -> None:
    assert pytest_step(("-k", "resume"), fast=False, processors=2) == ("-m", "pytest", "-k", "resume")
    assert pytest_step(("tests/e2e",), fast=False, processors=2) == ("-m", "pytest", "tests/e2e")


def test_in_the_fast_lane_options_alone_choose_among_the_unit_tests() -> None:
    chosen = pytest_step(("-k", "resume"), fast=True, processors=2)
    assert chosen == ("-m", "pytest", "-k", "resume", "tests/unit")
    one = "tests/unit/test_chat.py::test_a_deleted_chat_is_gone"
    assert pytest_step((one,), fast=True, processors=2) == ("-m", "pytest", one)


def test_every_lane_lints_types_and_checks_the_contracts() -> None:
    assert list(CHECKS) == ["ruff check", "ruff format", "import contracts", "mypy"]


def test_help_says_what_test_takes_and_runs_nothing() -> None:
    shown = CliRunner().invoke(commands, ["test", "--help"])
    assert shown.exit_code == 0
    assert "--fast" in shown.output
    assert "unspool test -k resume" in shown.output
    assert "==" not in shown.output
