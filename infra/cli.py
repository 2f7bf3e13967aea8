"""The command line. Each command's module is imported when it is called: `unspool --help` needs none of them."""

import sys
from pathlib import Path

import click

from infra.cli_beside import BESIDE
from infra.cli_options import (
    CONFIG,
    PORTS,
    PROCESSES,
    Commands,
    settings_of,
)
from infra.terminal.printable import printable
from shared.domain.errors import ConfigurationError, UnspoolError
from shared.settings import find_config
from shared.version import VERSION

EXIT_FAILED = 1
EXIT_MISCONFIGURED = 2
PROGRAM = "unspool"
COMPLETION_VARIABLE = "_UNSPOOL_COMPLETE"
"""The environment variable by which a shell asks for completions: click's protocol."""
COMPLETION_LINES = """\b
Add to
  ~/.bashrc                   eval "$(unspool completion bash)"
  ~/.zshrc, after compinit    eval "$(unspool completion zsh)"
  ~/.config/fish/config.fish  unspool completion fish | source
"""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@CONFIG
@click.version_option(package_name=None, version=VERSION, prog_name=PROGRAM)
@click.pass_context
def commands(context: click.Context, config: Path | None) -> None:
    """A chat backend for language models in which an answer outlives every connection and every process."""
    context.obj = find_config(config)


@commands.command()
@click.option(
    "--port",
    metavar="N",
    type=PORTS,
    help="Of the first API process; more follow on consecutive ports. Default: 8000.",
)
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where everything is kept. Default: a directory of the user's, /var/lib/unspool for root.",
)
@click.option("--generators", metavar="N", type=PROCESSES, default=1, help="Generator processes. Default: 1.")
@click.option("--apis", metavar="N", type=PROCESSES, default=1, help="API processes. Default: 1.")
@CONFIG
@click.pass_context
def up(
    context: click.Context,
    *,
    config: Path | None,
    port: int | None,
    data: Path | None,
    generators: int,
    apis: int,
) -> None:
    """Run it all: NATS, Postgres, the API and generators. Ctrl-C stops it; the next `up` goes on where it was.

    With UNSPOOL_NATS_URL or UNSPOOL_POSTGRES_URL set, that server is used and none is started.
    """
    from infra.local.up import Options, main  # noqa: PLC0415 - see the module's docstring

    context.obj = config or context.obj
    settings = settings_of(context, port=port)
    context.exit(main(settings, Options(config=context.obj, data=data, generators=generators, apis=apis)))


@commands.command()
@click.option("--host", help="Where to listen. Other than loopback needs an API key.")
@click.option("--port", metavar="N", type=PORTS, help="Default: 8000.")
@click.pass_context
def api(context: click.Context, host: str | None, port: int | None) -> None:
    """Run one API process."""
    from services.api.__main__ import main  # noqa: PLC0415 - see the module's docstring

    context.exit(main(settings_of(context, host=host, port=port)))


@commands.command()
@click.pass_context
def generator(context: click.Context) -> None:
    """Run one generator process."""
    from services.generator.__main__ import main  # noqa: PLC0415 - see the module's docstring

    context.exit(main(settings_of(context)))


@commands.command()
@click.pass_context
def projector(context: click.Context) -> None:
    """Run the projector as a process of its own. Set UNSPOOL_PROJECTOR=false for the API processes then."""
    from services.api.projector_process import main  # noqa: PLC0415 - see the module's docstring

    context.exit(main(settings_of(context)))


@commands.command()
@click.option("--minutes", metavar="N", type=click.FloatRange(min=0.1), default=1.0, help="Default: 1.")
@click.option(
    "--seed", metavar="N", type=int, help="Of the faults and of the load. Default: a new one, printed."
)
@click.option("--people", metavar="N", type=PROCESSES, default=10, help="Clients at once. Default: 10.")
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where data and logs of the run stay. Default: a temporary directory, removed afterwards.",
)
@click.pass_context
def chaos(context: click.Context, minutes: float, seed: int | None, people: int, data: Path | None) -> None:
    """Kill, stop and restart everything under load, on servers of its own, and check that nothing was lost."""
    from infra.chaos.run import main  # noqa: PLC0415 - see the module's docstring

    context.exit(main(minutes, seed, people, data))


@commands.command()
@click.option("--cluster", is_flag=True, help="Certificates for compose.cluster.yaml, too.")
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Default: infra/ of this checkout, where compose looks.",
)
@click.pass_context
def init(context: click.Context, *, cluster: bool, directory: Path | None) -> None:
    """Write the secrets that `docker compose -f infra/compose.yaml up` asks for: random, once."""
    from infra.deploy.init import DEFAULT_PATH, main  # noqa: PLC0415 - see the module's docstring

    context.exit(main(directory or DEFAULT_PATH.parent, cluster=cluster))


@commands.command(
    context_settings={"ignore_unknown_options": True},
    options_metavar="[--fast] [PYTEST OPTIONS]",
    epilog="\b\nExamples:\n  unspool test tests/unit/test_chat.py\n  unspool test -k resume",
)
@click.option("--fast", is_flag=True, help="Checks and unit tests only: under a minute.")
@click.argument("pytest_arguments", metavar="[PATHS]", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def test(context: click.Context, pytest_arguments: tuple[str, ...], *, fast: bool) -> None:
    """Run all checks and tests.

    The checks are ruff, mypy and the import contracts: they always run first. The whole suite starts real servers, and
    shows its ten slowest tests in the end. Paths and options of pytest go to pytest, which then runs these tests only.
    The first run installs the tools that it needs.
    """
    from infra import bootstrap  # noqa: PLC0415 - see the module's docstring
    from infra.checks import CHECKOUT, main  # noqa: PLC0415 - see the module's docstring

    if status := bootstrap.add_tools(CHECKOUT):
        context.exit(status)
    context.exit(main(pytest_arguments, fast=fast))


@commands.command(
    context_settings={"ignore_unknown_options": True},
    options_metavar="[OPTIONS]",
    epilog="""\b
Options:
  --quick                one round of smaller cases: about a minute
  --case NAME            only this case, such as burst; can be repeated
  --only TARGET          only this target, such as unspool; can be repeated
  --rounds N             rounds, whose medians count
  --apis N               API processes of Unspool
  --generators N         generator processes of Unspool
  --set NAME=VALUE       a setting of Unspool
  --json FILE            where to write all figures
  --plots DIR            where to draw them
""",
)
@click.argument("arguments", metavar="", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def bench(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Measure latency, processor time and throughput, beside what is usually built.

    It starts servers of its own, and checks each answer to the letter. The first run installs the tools that it needs.
    """
    from infra import bootstrap  # noqa: PLC0415 - see the module's docstring
    from infra.checks import CHECKOUT, run_bench  # noqa: PLC0415 - see the module's docstring

    if status := bootstrap.add_tools(CHECKOUT):
        context.exit(status)
    context.exit(run_bench(arguments))


@commands.command(epilog=COMPLETION_LINES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands and options in a shell.

    In zsh and fish `unspool` has to be on the PATH, such as by a symbolic link to it.
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - see the module's docstring

    if script := get_completion_class(shell):
        click.echo(script(commands, {}, PROGRAM, COMPLETION_VARIABLE).source())


for _command in BESIDE:
    commands.add_command(_command)


def main() -> None:
    """Runs the command line. An error that has a class of ours becomes one line, not a traceback."""
    try:
        commands(prog_name=PROGRAM, complete_var=COMPLETION_VARIABLE)
    except ConfigurationError as error:
        _leave(error, EXIT_MISCONFIGURED)
    except UnspoolError as error:
        _leave(error, EXIT_FAILED)


def _leave(error: UnspoolError, status: int) -> None:
    print(f"unspool: {printable(str(error))}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
