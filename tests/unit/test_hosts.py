"""Hosts that only this machine can reach are told from others."""

import pytest

from shared.hosts import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "api.localhost"])
def test_a_host_of_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "example.com", "localhost.example.com"])
def test_a_host_that_others_reach_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)
