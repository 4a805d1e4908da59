"""Secret fields of the data, and how they are stored.

A field is secret by its name, at the top level of the input, of a step's result and of a signal's payload. A result
kept under one name (``output=``) is a level deeper in the data, and so are its fields. A secret is never shown; with a
codec it is encrypted wherever it is stored, and decrypted only for the code that works with it.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import quote, quote_plus

from sagas.errors import ConfigurationError, PayloadError, SecretUnreadable
from sagas.model import payload
from sagas.model.payload import HIDDEN, Sealed
from sagas.model.records import unfolded

#: Takes secret values out of a text.
Redact = Callable[[str], str]
#: Shorter values occur in every other text, so removing them would reveal more than it hides.
SHORTEST = 4


class Codec(Protocol):
    """An object that encrypts and decrypts, as ``cryptography.fernet.MultiFernet`` does; its ciphertext is ASCII."""

    def encrypt(self, data: bytes, /) -> bytes: ...

    def decrypt(self, token: bytes, /) -> bytes: ...


class Secrecy:
    """The names of the secret fields, and the codec that encrypts them, if there is one.

    Raises:
        ConfigurationError: ``names`` are not names, or ``codec`` is not a codec.
    """

    def __init__(self, names: Iterable[str] = (), codec: Codec | None = None) -> None:
        listed = None if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
        if listed is None or not all(isinstance(name, str) and name for name in listed):
            raise ConfigurationError("secrets= must be names of data fields, as in secrets=('card_number', 'iban')")
        if codec is not None and not all(callable(getattr(codec, verb, None)) for verb in ("encrypt", "decrypt")):
            raise ConfigurationError(
                f"codec= must have encrypt(bytes) and decrypt(bytes), as MultiFernet of `cryptography` has; this is a "
                f"{type(codec).__qualname__}"
            )
        self.names = frozenset(listed)
        self._codec = codec

    def __repr__(self) -> str:
        return f"<Secrecy of {sorted(self.names)}>"

    @property
    def is_wanted(self) -> bool:
        """Whether there is anything to hide."""
        return bool(self.names) or self._codec is not None

    @property
    def encrypts(self) -> bool:
        """Whether secret fields are stored encrypted."""
        return self._codec is not None

    @property
    def encrypts_nothing(self) -> bool:
        """Whether there is a codec but no secret name: encrypted values can be read, but none are written."""
        return self._codec is not None and not self.names

    # -- storing

    def dumps(self, value: Any, what: str, *, under: str | None = None) -> str:
        """Encode like `payload.dumps`, with the secret fields encrypted.

        Args:
            under: the one name under which the whole value is kept; it may itself be the name of a secret.

        Raises:
            PayloadError: the value cannot be stored; the message names the path.
        """
        value = payload.fields_of(value, what)
        if under is not None:
            value = {under: value if under in self.names else self._seal(value, what)}
        return payload.dumps(self._seal(value, what), what)

    def _seal(self, value: Any, what: str) -> Any:
        if self._codec is None or not isinstance(value, Mapping):
            return value
        return {
            name: self._sealed(item, f"{what}[{name!r}]") if name in self.names else item
            for name, item in value.items()
        }

    def _sealed(self, value: Any, path: str) -> Sealed:
        if isinstance(value, Sealed):
            return value
        assert self._codec is not None
        encoded = payload.dumps(value, path).encode()
        try:
            return Sealed(self._codec.encrypt(encoded).decode("ascii"))
        except Exception as error:
            # Without the error's text, which may contain the value that could not be encrypted.
            raise PayloadError(
                f"{path} cannot be encrypted: the codec says {type(error).__qualname__}; its encrypt() takes bytes and "
                "returns ASCII"
            ) from None

    def open(self, value: Any) -> Any:
        """Return the value with its secret fields decrypted, for the code that works with it.

        Raises:
            SecretUnreadable: no key in this process decrypts a field; the message names it.
        """
        if not isinstance(value, Mapping):
            return value
        return {name: self._opened_within(item, name) for name, item in value.items()}

    def _opened_within(self, item: Any, name: str) -> Any:
        if isinstance(item, Sealed):
            return self._opened(item, name)
        if isinstance(item, Mapping) and any(isinstance(inner, Sealed) for inner in item.values()):
            return self.open(item)
        return item

    def _opened(self, sealed: Sealed, name: str) -> Any:
        if self._codec is None:
            raise SecretUnreadable(
                f"the field {name!r} is stored encrypted, and this process has no key: give Sagas the codec= that it "
                "was stored with"
            )
        try:
            return payload.loads(self._codec.decrypt(sealed.token.encode()).decode())
        except Exception as error:
            raise SecretUnreadable(
                f"the field {name!r} is stored encrypted, and no key here opens it ({type(error).__qualname__}): keep "
                "the key that it was stored with, after the new one, as in MultiFernet([new, old])"
            ) from None

    # -- showing

    def hide(self, value: Any) -> Any:
        """Return the value as people may see it."""
        value = _seen_fields(value)
        if not isinstance(value, Mapping):
            return value
        return {
            name: HIDDEN if self._is_secret(name, item) else self._hidden_within(item) for name, item in value.items()
        }

    def _hidden_within(self, item: Any) -> Any:
        if not isinstance(item, Mapping):
            return item
        return {name: HIDDEN if self._is_secret(name, inner) else inner for name, inner in item.items()}

    def _is_secret(self, name: str, item: Any) -> bool:
        return name in self.names or isinstance(item, Sealed)

    def redactor(self, *seen: Any) -> Redact:
        """Return a function that removes the secret values of these mappings from a text.

        It finds a value as text, and as Python, JSON and URLs write that text.
        """
        if not self.is_wanted:
            return _unchanged
        forms = {form for value in self._secrets(seen) for form in _forms(value) if len(form) >= SHORTEST}
        if not forms:
            return _unchanged
        # The longest first: one secret may be the beginning of another.
        pattern = re.compile("|".join(re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form))))
        return lambda text: pattern.sub(HIDDEN, text)

    def knows(self, *seen: Any) -> bool:
        """Return whether every secret of these mappings can be read here, so that it can be found in other texts."""
        try:
            for data in seen:
                self.open(data)
        except SecretUnreadable:
            return False
        return True

    def _secrets(self, seen: Iterable[Any]) -> Iterator[Any]:
        for data in map(_seen_fields, seen):
            for name, item in _fields(data):
                if isinstance(item, Sealed):
                    try:
                        yield self._opened(item, name)
                    except SecretUnreadable:
                        continue  # a secret that this process cannot decrypt cannot be in its texts
                elif name in self.names:
                    yield item


def _fields(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a mapping, and those of the results that it keeps under one name each."""
    for name, item in data.items() if isinstance(data, Mapping) else ():
        yield name, item
        within = _seen_fields(item)
        if isinstance(within, Mapping):
            yield from within.items()


def _unchanged(text: str) -> str:
    return text


def _seen_fields(value: Any) -> Any:
    """Return a record as a mapping of its fields, even if it cannot be dumped: its secrets may be in other texts."""
    try:
        return unfolded(value)
    except Exception:
        return dict(getattr(value, "__dict__", {}))


def _forms(value: Any) -> Iterator[str]:
    value = _seen_fields(value)
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _forms(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _forms(item)
    elif value is not None and not isinstance(value, bool | Sealed):
        text = str(value)
        yield from (text, repr(text)[1:-1], json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
        # A client's error names the URL that it asked for, or shows the bytes of the answer.
        encoded = text.encode("utf-8", "surrogatepass")
        yield from (quote(encoded), quote(encoded, safe=""), quote_plus(encoded), repr(encoded)[2:-1])
