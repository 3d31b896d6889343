"""What the logbook of serving is given by the project."""

import secrets

from skyloom.governance.private import read_private, write_private
from skyloom.kernel.errors import NotFound
from skyloom.platform import Platform

_FILE = "logbook.key"


def logbook_secret(platform: Platform) -> bytes:
    """The key of the hashes that stand for redacted values; made on first use, into the private folder (mode 0600)."""
    try:
        return read_private(platform.private, _FILE)
    except NotFound:
        write_private(platform.private, _FILE, secrets.token_bytes(32))
        return read_private(platform.private, _FILE)
