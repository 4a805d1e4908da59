"""The signature of a message: over its exact bytes, with a key that both services have."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from sagas.errors import ConfigurationError

#: The header that carries it.
SIGNATURE = "sagas-signature"
_SCHEME = "v1="
#: The shortest key, in bytes.
SHORTEST_KEY = 32


def checked_keys(given: Any, who: str) -> tuple[bytes, ...]:
    """Return the keys: the first one signs, and all are accepted. Raises ConfigurationError, without their values."""
    if isinstance(given, str | bytes) or not isinstance(given, Sequence) or not given:
        raise ConfigurationError(f"{who}: keys= must be a list of secret keys: the first one signs, all are accepted")
    keys = tuple(key.encode() if isinstance(key, str) else key for key in given)
    if not all(isinstance(key, bytes) and len(key) >= SHORTEST_KEY for key in keys):
        raise ConfigurationError(
            f"{who}: each of keys= must be text or bytes of at least {SHORTEST_KEY} bytes, as secrets.token_hex(32) "
            "makes them"
        )
    return keys


def sign(body: bytes, keys: Sequence[bytes]) -> str:
    return _SCHEME + hmac.new(keys[0], body, hashlib.sha256).hexdigest()


def is_signed(body: bytes, signature: Any, keys: Sequence[bytes]) -> bool:
    """Return whether one of the keys made the signature, which some brokers give as bytes."""
    if isinstance(signature, bytes):
        signature = signature.decode(errors="replace")
    if not isinstance(signature, str) or not signature.isascii():
        return False
    return any(hmac.compare_digest(sign(body, [key]), signature) for key in keys)
