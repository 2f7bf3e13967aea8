"""Options that several commands of the command line have, and the settings that come of them."""

from pathlib import Path
from typing import Any

import click
from msgspec import structs

from shared.settings import Settings, load

PORTS = click.IntRange(1, 65_535)
PROCESSES = click.IntRange(1, 64)
CONFIG = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings in TOML. Default: $UNSPOOL_CONFIG, else unspool.toml in the current directory, if there is one.",
)
BESIDE_UP = click.option(
    "--data",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory of the `unspool up` whose servers are meant. Default: the servers that are configured, "
    "else the default directory of `up`.",
)
UP_DATA = click.option(
    "--data",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data directory of the `unspool up` that is meant. Default: the default directory of `up`.",
)
URLS = click.option(
    "--url",
    "urls",
    metavar="URL",
    multiple=True,
    help="URL of an API process. Several: if one is away, another is asked. Default: those of the running "
    "`unspool up`.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class Commands(click.Group):
    """A group that lists each command with its whole first sentence."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands. Click itself cuts each sentence to one line."""
        named = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        whole = formatter.width * 10
        rows = [(name, command.get_short_help_str(whole)) for name, command in named if command]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def settings_of(context: click.Context, **given: Any) -> Settings:  # noqa: ANN401 - any setting's value
    """Returns the settings. The command's own options win over the environment and the file."""
    settings = load(context.obj)
    return structs.replace(settings, **{name: value for name, value in given.items() if value is not None})


def settings_beside_up(context: click.Context, data: Path | None) -> Settings:
    """Returns settings with the addresses of the servers that a running `unspool up` started."""
    from infra.local.embedded import with_embedded  # noqa: PLC0415 - only for the commands that need it

    return with_embedded(settings_of(context), data, context.obj)


def api_urls(settings: Settings, urls: tuple[str, ...], data: Path | None) -> tuple[str, ...]:
    """Returns the URLs that were given, else those of the running `unspool up`. Raises `NothingRuns`."""
    if urls:
        return urls
    from infra.local.data_directory import DataDirectory, default_path  # noqa: PLC0415 - as above
    from infra.local.running import find_api_urls  # noqa: PLC0415 - as above

    default_port = settings.port if data is None else None
    return find_api_urls(DataDirectory(data or default_path()), default_port=default_port)
