"""Check the words of a person: names that are looked up, and reasons that a history keeps."""

from sagas.errors import PayloadError, SagaError
from sagas.model.payload import excerpt, is_storable

#: Limit for signal names, keys and operators' names; they are indexed.
LONGEST_NAME = 512
LONGEST_REASON = 4000


def checked_text(text: str, what: str, longest: int = LONGEST_NAME, error: type[SagaError] = PayloadError) -> str:
    """Return a text that the database can store. Raises ``error`` for any other."""
    if not isinstance(text, str) or not 1 <= len(text) <= longest or not is_storable(text):
        raise error(f"{what} must be text without NUL of 1 to {longest} characters, not {excerpt(text)}")
    return text
