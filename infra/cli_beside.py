"""Commands for people beside a running system. Each command's module is imported when it is called, as in `cli.py`."""

from pathlib import Path
from typing import BinaryIO

import click

from infra.cli_options import AS_JSON, BESIDE_UP, UP_DATA, URLS, api_urls, settings_beside_up, settings_of


@click.command()
@BESIDE_UP
@click.pass_context
def rebuild(context: click.Context, data: Path | None) -> None:
    """Make the read models again from the log, while the API serves."""
    from services.api.read_model.rebuild import main  # noqa: PLC0415 - see the module's docstring

    context.exit(main(settings_beside_up(context, data)))


@click.command()
@click.argument("sequence", metavar="SEQUENCE", type=click.IntRange(min=1))
@click.option("--stream", type=click.Choice(["CHATS", "TOKENS"]), default="CHATS", show_default=True)
@BESIDE_UP
@click.pass_context
def inspect(context: click.Context, sequence: int, stream: str, data: Path | None) -> None:
    """Show one stored event, such as one that the projector stopped at."""
    from infra.inspect.stored_event import main  # noqa: PLC0415 - see the module's docstring

    context.exit(main(settings_beside_up(context, data), stream, sequence))


@click.command()
@click.argument("chat", metavar="[CHAT]", required=False)
@URLS
@UP_DATA
@click.option(
    "--no-history",
    is_flag=True,
    envvar="UNSPOOL_NO_HISTORY",
    show_envvar=True,
    help="Forget at the end what was typed. Otherwise the next run has it at the arrow keys.",
)
@click.option("--model", metavar="MODEL", help="What is to answer. Default: the chat's, or the server's.")
@click.pass_context
def chat(
    context: click.Context,
    *,
    chat: str | None,
    urls: tuple[str, ...],
    data: Path | None,
    model: str | None,
    no_history: bool,
) -> None:
    """Talk, in a terminal. From a pipe, each line is a message.

    CHAT is the id of a chat to go on with.
    """
    from infra.terminal.chat import Options, main  # noqa: PLC0415 - see the module's docstring

    settings = settings_of(context)
    urls = api_urls(settings, urls, data)
    options = Options(
        urls=urls, api_key=settings.api_key, model=model, chat=chat, keep_history=not no_history
    )
    context.exit(main(options))


@click.command()
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, 10_000), default=20, help="At most so many. Default: 20."
)
@AS_JSON
@URLS
@UP_DATA
@click.pass_context
def chats(
    context: click.Context, *, limit: int, as_json: bool, urls: tuple[str, ...], data: Path | None
) -> None:
    """List the chats with the newest activity: id, age, state and title."""
    from infra.terminal.chats import Options, main  # noqa: PLC0415 - see the module's docstring

    settings = settings_of(context)
    urls = api_urls(settings, urls, data)
    context.exit(main(Options(urls=urls, api_key=settings.api_key, limit=limit, as_json=as_json)))


@click.command()
@AS_JSON
@URLS
@UP_DATA
@click.pass_context
def status(context: click.Context, *, as_json: bool, urls: tuple[str, ...], data: Path | None) -> None:
    """Show what runs, what does not, the queue and the lag.

    It shows the processes of `up`, NATS, Postgres, the API processes, the projector, the queue and the models. The
    exit status is 0 if everything is healthy, else 1.
    """
    from infra.inspect.status import Options, main  # noqa: PLC0415 - see the module's docstring

    options = Options(data=data, config=context.obj, urls=urls, as_json=as_json)
    context.exit(main(settings_of(context), options))


@click.command()
@click.argument("chat", metavar="[CHAT]", required=False)
@click.option("--last", is_flag=True, help="Replay the chat that changed last, in place of CHAT.")
@click.option("--follow", is_flag=True, help="Go on as new events come, until Ctrl-C.")
@click.option(
    "--speed",
    metavar="N",
    type=click.FloatRange(0, min_open=True),
    help="Replay answers N times as fast as they were made: 1 is their own pace. Default: all at once.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="The events as they are stored, one JSON document a line."
)
@click.option(
    "--tokens", "each_token", is_flag=True, help="A line for each token event, in place of the text."
)
@BESIDE_UP
@click.pass_context
def replay(
    context: click.Context,
    *,
    chat: str | None,
    last: bool,
    data: Path | None,
    follow: bool,
    speed: float | None,
    as_json: bool,
    each_token: bool,
) -> None:
    """Show what the log holds of a chat, event by event: facts, and answers as they were made."""
    from infra.inspect.replay import Options, main  # noqa: PLC0415 - see the module's docstring

    if (chat is None) != last:
        raise click.UsageError("Give either the id of a chat or --last.", context)
    options = Options(chat=chat, follow=follow, speed=speed, as_json=as_json, each_token=each_token)
    context.exit(main(settings_beside_up(context, data), options))


@click.command()
@click.argument("chat", metavar="CHAT")
@click.option("--redact", is_flag=True, help="With a filler for each character of what was said.")
@BESIDE_UP
@click.pass_context
def export(context: click.Context, chat: str, data: Path | None, *, redact: bool) -> None:
    """Write a chat's events to standard output, a line of JSON for each: for `import`."""
    from infra.transfer.exporting import main  # noqa: PLC0415 - see the module's docstring

    context.exit(main(settings_beside_up(context, data), chat, redact=redact))


@click.command("import")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--new-id", is_flag=True, help="As another chat, also where the exported one is there already.")
@BESIDE_UP
@click.pass_context
def import_(context: click.Context, file: BinaryIO, data: Path | None, *, new_id: bool) -> None:
    """Append an exported chat to this log. Nothing in it is generated again.

    It gets this system's owner, new sequences, and the times of the import.
    """
    from infra.transfer.importing import main  # noqa: PLC0415 - see the module's docstring

    context.exit(main(settings_beside_up(context, data), file, new_id=new_id))


@click.command()
@click.option("--chat", metavar="CHAT", help="Only this one. Default: all.")
@BESIDE_UP
@click.pass_context
def verify(context: click.Context, chat: str | None, data: Path | None) -> None:
    """Hold the read model against the log, and answers against their tokens, while all of it runs.

    Each difference is a line; the exit status is 1 if there are any.
    """
    from infra.verify.command import main  # noqa: PLC0415 - see the module's docstring

    context.exit(main(settings_beside_up(context, data), chat))


BESIDE = (rebuild, inspect, chat, chats, status, replay, export, import_, verify)
