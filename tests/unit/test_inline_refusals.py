"""What `sagas.testing.inline` refuses before anything runs."""

from typing import Any

import pytest
from celery import Celery

from sagas import ConfigurationError
from sagas.testing import inline
from tests.support import scripted


@pytest.mark.parametrize("given", [Celery("somewhere", set_as_current=False), None, scripted.three], ids=type)
def test_a_block_needs_the_sagas_of_an_app(given: Any) -> None:
    told = r"inline\(…\) takes the Sagas of an app, as in inline\(app\.sagas\), not a (Celery|None|Saga)"

    with pytest.raises(ConfigurationError, match=told), inline(given):
        raise AssertionError("it began")
