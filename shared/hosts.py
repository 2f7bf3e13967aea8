"""Tells hosts of this machine from others. Pure."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Returns True for addresses and names that only this machine can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
