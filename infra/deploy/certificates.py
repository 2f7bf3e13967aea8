"""Creates a certificate authority for the NATS nodes of compose.cluster.yaml, and one certificate for all three.

It uses the `openssl` command and deletes the authority's key: to certify another node later, create all files
again and restart each node.
"""

import subprocess
import tempfile
from pathlib import Path

from shared.domain.errors import ConfigurationError

DEFAULT_PATH = Path(__file__).parents[1] / "certificates"
NAMES = ("nats", "nats-2", "nats-3", "localhost")
DAYS = 3650
OPENSSL_SECONDS = 30.0


def write(path: Path) -> None:
    """Writes all files to a new directory, or none. Raises `ConfigurationError` if it exists or `openssl` fails."""
    if path.exists():
        raise ConfigurationError(
            f"{path} already exists and was not changed. Delete it to create new certificates"
        )
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        made = Path(temporary) / "made"
        # The directory's mode protects the key. The files themselves are readable, because the containers that
        # mount them one by one run without the right to ignore a file's mode.
        made.mkdir(mode=0o700)
        authority_key = Path(temporary) / "authority.key"
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", str(DAYS), "-subj", "/CN=Unspool NATS authority"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", str(authority_key), "-out", str(made / "ca.pem")),
        )
        request = Path(temporary) / "request.pem"
        _openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=nats"),
            *("-keyout", str(made / "nats.key"), "-out", str(request)),
        )
        extensions = Path(temporary) / "extensions"
        names = ",".join(f"DNS:{name}" for name in NAMES)
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        _openssl(
            *("x509", "-req", "-in", str(request), "-days", str(DAYS), "-extfile", str(extensions)),
            *("-CA", str(made / "ca.pem"), "-CAkey", str(authority_key), "-set_serial", "1"),
            *("-out", str(made / "nats.pem")),
        )
        for file in made.iterdir():
            file.chmod(0o644)
        made.replace(path)


def _openssl(*arguments: str) -> None:
    try:
        done = subprocess.run(
            ["openssl", *arguments], capture_output=True, text=True, timeout=OPENSSL_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise ConfigurationError(
            "the `openssl` command is missing: install it, then repeat the call"
        ) from error
    if done.returncode:
        raise ConfigurationError(f"openssl failed: {done.stderr.strip()}")
