"""The headers that instances keep: read from their rows, and remembered, since they never change."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from kombu.utils import json as kombu_json

from sagas.errors import PayloadError
from sagas.model import Secrecy, payload
from sagas.model.headers import Kept, digest_of
from sagas.store import statements
from sagas.store.book import InSchema, StatementBook
from sagas.store.database import Database

#: Headers are encoded as kombu encodes its JSON.
_kombu: Any = kombu_json
#: How many instances a process remembers the headers of, twice (recent and former); at most 2 KiB each.
REMEMBERED = 1024
UNKNOWN: Any = object()


class Headers(InSchema):
    """The headers of an instance's messages. Code that reads or writes the instance's row remembers them here."""

    def __init__(self, database: Database, book: StatementBook) -> None:
        super().__init__(database, book)
        # No lock, which a fork might copy while it is held: every line is a single operation on a dict.
        self._recent: dict[UUID, str | Kept | None] = {}
        self._former: dict[UUID, str | Kept | None] = {}

    def remember(self, instance_id: UUID, stored: "str | Kept | None") -> None:
        """Remember the headers in an instance's row."""
        if len(self._recent) >= REMEMBERED:
            self._former, self._recent = self._recent, {}
        self._recent[instance_id] = stored

    def of(self, instance_id: UUID) -> Kept | None:
        """Return an instance's headers, read from its row if need be. None: there are none, or no such instance."""
        known = self._recent.get(instance_id, self._former.get(instance_id, UNKNOWN))
        if known is UNKNOWN:
            with self._database.autocommit() as connection:
                row = connection.execute(self._sql(statements.HEADERS), {"id": instance_id}).one_or_none()
            if row is None:
                return None  # not committed yet, perhaps
            known = row.headers
        kept = decode(known) if isinstance(known, str) else known
        self.remember(instance_id, kept)
        return kept


def encode_headers(kept: Kept, secrecy: Secrecy) -> str:
    """Encode headers for the row.

    Raises:
        PayloadError: a header cannot be stored; the message names it.
    """
    top, nested = _as_json(kept.top), None if kept.nested is None else _as_json(kept.nested)
    secret = payload.loads(secrecy.dumps(_as_json(kept.secret), "secret headers"))
    whole = {"at": kept.at, "top": top, "nested": nested, "secret": secret, "digest": digest_of(top, nested)}
    return payload.dumps(whole, "headers")


def decode(stored: str) -> Kept:
    """Decode the output of `encode_headers`, with every value as a worker gets it from its broker."""
    whole = payload.loads(stored)
    top, nested = (_kombu.loads(json.dumps(whole[part])) for part in ("top", "nested"))
    return Kept(at=whole["at"], top=top, nested=nested, secret=whole["secret"], digest=whole["digest"])


def size_of_headers(kept: Kept) -> int:
    """Return what they add to a message, in bytes of JSON."""
    return len(json.dumps([_as_json(kept.top), _as_json(kept.nested or {})]).encode())


def _as_json(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _value_as_json(name, value) for name, value in headers.items()}


def _value_as_json(name: str, value: Any) -> Any:
    try:
        return json.loads(_kombu.dumps(value))
    except Exception as error:  # the broker would not take it either
        raise PayloadError(
            f"the header {name!r} is a {type(value).__qualname__}, which no message can carry: make it text where it "
            "is set"
        ) from error
