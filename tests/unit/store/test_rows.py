"""What cannot be read off an instance's rows says why, and what to do about it."""

from uuid import UUID

import pytest

from sagas.errors import RowDamaged
from sagas.model import NewerRelease
from sagas.store import legible

ID = UUID(int=7)


def test_d4_what_a_newer_release_wrote_waits_for_that_release() -> None:
    told = rf"saga {ID} was written by a newer release, and waits for .*: the plan has 'colour'\. Deploy it here too"

    with pytest.raises(RowDamaged, match=told), legible(ID):
        raise NewerRelease("the plan has 'colour'")


def test_what_does_not_fit_together_does_not_tell_the_data() -> None:
    with pytest.raises(RowDamaged) as caught, legible(ID):
        raise ValueError("the card 4111 1111")

    assert "4111" not in str(caught.value)
    assert "they were edited by hand, or written by a newer release" in str(caught.value)
