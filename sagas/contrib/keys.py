"""Make the codec of `Sagas` from a framework's settings: Fernet keys, or the application's own codec."""

from collections.abc import Sequence
from typing import Any

from celery.utils.imports import symbol_by_name

from sagas.errors import ConfigurationError
from sagas.model import Codec


def codec_of(where: str, codec: Any, keys: Sequence[str | bytes] | None) -> Codec | None:
    """Return the codec that settings name: the object or its path, or one made of Fernet keys, newest first.

    Raises:
        ConfigurationError: both are given, or it cannot be imported or made; no message contains a key.
    """
    if codec is not None and keys is not None:
        raise ConfigurationError(f"{where} has CODEC and KEYS: keep one of them")
    if keys is not None:
        return _fernet(where, keys)
    if isinstance(codec, str):
        try:
            found: Codec = symbol_by_name(codec)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(f"{where}['CODEC'] is {codec!r}, which cannot be imported ({error})") from error
        return found
    given: Codec | None = codec
    return given


def _fernet(where: str, keys: Sequence[str | bytes]) -> Codec:
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError as error:
        raise ConfigurationError(
            f"{where}['KEYS'] needs the package cryptography: pip install 'celery-sagas[fernet]'"
        ) from error
    if isinstance(keys, str | bytes) or not keys:
        raise ConfigurationError(f"{where}['KEYS'] must be a list of Fernet keys, the newest first")
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except Exception:  # its text may contain part of the key
        raise ConfigurationError(
            f"{where}['KEYS'] holds an invalid Fernet key: make one with `python -c 'from cryptography.fernet import "
            "Fernet; print(Fernet.generate_key().decode())'`"
        ) from None
