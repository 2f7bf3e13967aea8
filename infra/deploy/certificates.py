"""A certificate authority for the NATS nodes of compose.cluster.yaml, and one certificate for all three of them.

Made with the `openssl` command. The authority's key is thrown away: nobody can certify a fourth node later
without making all of it anew, which takes seconds and a restart of each node.
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
    """Raises `ConfigurationError` if the directory is there, or openssl is not."""
    if path.exists():
        raise ConfigurationError(f"{path} is there already: it stays as it is")
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary:
        made = Path(temporary) / "made"
        # Who may not enter the directory cannot read the key. It is readable itself, since the containers,
        # into which the files are mounted one by one, run without the right to pass over a file's mode.
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
        raise ConfigurationError("the certificates need the `openssl` command: install it") from error
    if done.returncode:
        raise ConfigurationError(f"openssl: {done.stderr.strip()}")
