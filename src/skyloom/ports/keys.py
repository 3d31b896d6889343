"""Keys: what signs a release, and what checks the signature."""

from typing import Protocol


class Signer(Protocol):
    """Signs with a private key that never leaves it. Ed25519."""

    @property
    def key_id(self) -> str: ...

    def sign(self, content: bytes) -> bytes: ...


class Verifier(Protocol):
    """Checks signatures with public keys only."""

    def verify(self, key_id: str, content: bytes, signature: bytes) -> bool:
        """Whether ``signature`` over ``content`` was made by the key ``key_id`` and that key is trusted."""
        ...
