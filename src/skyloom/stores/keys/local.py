"""Ed25519 keys in files: a private one that signs, public ones beside it that check.

The id of a key is the first 16 hexadecimal digits of the SHA-256 of its 32 public bytes.
"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from skyloom.kernel.errors import DataError, Refused
from skyloom.kernel.ids import digest
from skyloom.ports.keys import Signer, Verifier
from skyloom.stores.files import complete_file, private_folder, read_regular, sync_folder, writable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_PUBLIC = ".pub"


class LocalSigner:
    """Signs with the private key in the file ``path``, which is made with mode 0600 when it is new.

    The public key is beside it as ``{key_id}.pub``. Raises `Refused` when others may read the private key.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> signer = LocalSigner(folder / "release.key")
    >>> LocalVerifier(folder).verify(signer.key_id, b"release", signer.sign(b"release"))
    True
    """

    def __init__(self, path: Path) -> None:
        with writable(path.parent):
            private_folder(path.parent)
            if not path.exists():
                _make_once(path, _new_private_key())
        self._key = _private_key(path)
        public = self._key.public_key().public_bytes_raw()
        self._key_id = digest(public)[:16]
        with writable(path.parent):
            _make_once(path.parent / (self._key_id + _PUBLIC), public.hex().encode() + b"\n")

    @property
    def key_id(self) -> str:
        """Which key this is."""
        return self._key_id

    def sign(self, content: bytes) -> bytes:
        """The signature of ``content``, 64 bytes."""
        return self._key.sign(content)


class LocalVerifier:
    """Trusts the public keys (``*.pub``) in the folder ``path``; it looks again when it meets a key it does not know.

    Raises `DataError` for a file that holds none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = self._read()

    def _read(self) -> "dict[str, Ed25519PublicKey]":
        return dict(_public_key(file) for file in sorted(self._path.glob(f"*{_PUBLIC}")))

    def verify(self, key_id: str, content: bytes, signature: bytes) -> bool:
        """Whether ``signature`` over ``content`` was made by the key ``key_id`` and that key is trusted."""
        from cryptography.exceptions import InvalidSignature

        if key_id not in self._keys:
            self._keys = self._read()
        key = self._keys.get(key_id)
        if key is None:
            return False
        with suppress(InvalidSignature):
            key.verify(signature, content)
            return True
        return False


def _make_once(path: Path, content: bytes) -> None:
    # A link fails when the name is taken: the first of several processes decides, and nobody sees half a file.
    with complete_file(path.parent, content) as complete, suppress(FileExistsError):
        path.hardlink_to(complete)
    sync_folder(path.parent)


def _new_private_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _private_key(path: Path) -> "Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if path.stat().st_mode & 0o077:
        raise Refused(f"others than you may read the private key {path}", tried=str(path), fix=f"chmod 600 {path}")
    try:
        key = load_pem_private_key(read_regular(path) or b"", password=None)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} holds no private key", tried=str(path), fix="put it back from a copy") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise DataError(f"the key in {path} is no Ed25519 key", tried=str(path))
    return key


def _public_key(path: Path) -> "tuple[str, Ed25519PublicKey]":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        public = bytes.fromhex(path.read_text("ascii"))
        return digest(public)[:16], Ed25519PublicKey.from_public_bytes(public)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} holds no public key", tried=str(path), fix="put it back from a copy") from error


if TYPE_CHECKING:
    _signer: Signer = LocalSigner(Path())
    _verifier: Verifier = LocalVerifier(Path())
