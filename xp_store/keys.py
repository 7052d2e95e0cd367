"""The store's key: it signs certificates and turns names of persons into keyed hashes.

One seed of 32 bytes lies beside the store, readable by its owner alone, or comes from
$REPERTORY_STORE_KEY (64 hexadecimal digits). It is made when it is first needed and is
never written anywhere else. Without it nobody can link a name to a hash in the store.
"""

import hashlib
import hmac
import os
import secrets
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StoreError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

VARIABLE = "REPERTORY_STORE_KEY"
_HASH_DIGITS = 16


@dataclass(frozen=True)
class Keys:
    """What is made of the seed: a key for hashing and one for signing (HMAC-SHA256, Ed25519)."""

    seed: bytes = field(repr=False)

    def pseudonym(self, text: str) -> str:
        """The keyed hash of a person's name, address or number; case and spaces do not matter."""
        plain = "".join(unicodedata.normalize("NFKC", text).casefold().split())
        return hmac.new(self._derived(b"subject"), plain.encode(), "sha256").hexdigest()[
            :_HASH_DIGITS
        ]

    def sign(self, content: bytes) -> str:
        """The Ed25519 signature of `content`, in hexadecimal."""
        return self._signing.sign(content).hex()

    @cached_property
    def public(self) -> str:
        """The key that verifies this store's signatures, in hexadecimal."""
        return self._signing.public_key().public_bytes_raw().hex()

    @cached_property
    def _signing(self) -> "Ed25519PrivateKey":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self._derived(b"sign"))

    def _derived(self, use: bytes) -> bytes:
        return hmac.new(self.seed, use, "sha256").digest()


def signed_by(public: str, content: bytes, signature: str) -> bool:
    """Whether `signature` of `content` was made with the key behind `public`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def load_keys(store: str) -> Keys:
    """The key of the store in the file `store`, made when there is none yet; blocking.

    Raises:
        StoreError: The variable holds no seed, or the file cannot be read or written.
    """
    if given := os.environ.get(VARIABLE):
        return Keys(_seed(given, f"the variable {VARIABLE}"))
    if store == ":memory:":
        return Keys(secrets.token_bytes(32))
    path = Path(f"{store}.key")
    try:
        if not path.exists():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(32) + "\n")
        return Keys(_seed(path.read_text("ascii"), str(path)))
    except FileExistsError:
        return load_keys(store)
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            f"the store's key {path} cannot be used: {error}", path=str(path)
        ) from error


def _seed(text: str, where: str) -> bytes:
    try:
        seed = bytes.fromhex(text.strip())
    except ValueError:
        seed = b""
    if len(seed) != hashlib.sha256().digest_size:
        raise StoreError(f"{where} holds no key: it must be 64 hexadecimal digits")
    return seed
