"""Find the instance that an operator means: by its id, the beginning of it, or its saga and business key."""

import re
from uuid import UUID

from sagas.errors import InstanceNotFound
from sagas.extension import Sagas
from sagas.handle import SagaHandle
from sagas.store import Instances

#: The beginning of an id.
BEGINNING = re.compile(r"[0-9a-f]{4}[0-9a-f-]{0,32}", re.IGNORECASE)
#: The number of digits of an id.
LONGEST = 32
FORMS = "give an id, the beginning of one, or a saga and its key, as in order/42"


def may_be_instance(given: str) -> bool:
    """Return whether it may name an instance, by its form."""
    return "/" in given or (BEGINNING.fullmatch(given) is not None and len(given.replace("-", "")) <= LONGEST)


def instance_of(sagas: Sagas, instances: Instances, given: str) -> SagaHandle:
    """Return the only instance that can be meant.

    Raises:
        InstanceNotFound: there is none, or there are several.
    """
    if not may_be_instance(given):
        raise InstanceNotFound(f"{given!r} is not an instance; {FORMS}")
    saga, slash, key = given.partition("/")
    if slash:
        found = sagas.find(saga=saga, key=key)
        if found is None:
            raise InstanceNotFound(f"no saga {saga!r} has an instance with the key {key!r}; {FORMS}")
        return found
    digits = given.replace("-", "")
    if len(digits) == LONGEST:
        return sagas.get(digits)
    lowest, highest = (UUID(digits.ljust(LONGEST, digit)) for digit in "0f")
    ids = instances.between(lowest, highest, limit=3)
    if not ids:
        raise InstanceNotFound(f"no saga instance has an id that begins with {given!r}; {FORMS}")
    if len(ids) > 1:
        shown = ", ".join(map(str, ids[:2]))
        raise InstanceNotFound(f"several ids begin with {given!r}, including {shown}: give more of it")
    return SagaHandle(sagas.engine, ids[0])
