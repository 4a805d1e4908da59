"""The tests. With ``SAGAS_TEST_CONTINUATION=inline`` every saga that says nothing else goes on by itself."""

import os

from sagas import Saga

if "SAGAS_TEST_CONTINUATION" in os.environ:
    assert Saga.__init__.__kwdefaults__ is not None
    Saga.__init__.__kwdefaults__["continuation"] = os.environ["SAGAS_TEST_CONTINUATION"]
