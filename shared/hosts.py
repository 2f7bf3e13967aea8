"""Tells hosts of this machine from others, and how to call them. Pure."""

import ipaddress

_ADDRESSES_TO_CALL = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses to listen on that stand for all, and the address to call for each."""


def is_loopback(host: str) -> bool:
    """Returns True for addresses and names that only this machine can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def host_to_call(host: str) -> str:
    """Returns the host, in the form of a URL, at which this machine reaches a server that listens on `host`."""
    address = _ADDRESSES_TO_CALL.get(host, host)
    return f"[{address}]" if ":" in address else address
