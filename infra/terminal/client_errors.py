"""Turns errors of the client package into those that the command line prints as one line."""

import contextlib
from collections.abc import Iterator

import unspool_client

from shared.domain.errors import ConfigurationError, UnspoolError


@contextlib.contextmanager
def translate_client_errors() -> Iterator[None]:
    """Raises `ConfigurationError` or `UnspoolError` in place of a `ClientError`, with the same text."""
    try:
        yield
    except unspool_client.ConfigurationError as error:
        raise ConfigurationError(str(error)) from error
    except unspool_client.ClientError as error:
        raise UnspoolError(str(error)) from error
