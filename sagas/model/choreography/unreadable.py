"""The error of an event that the code at hand cannot read."""

from sagas.errors import BindingError


class EventUnreadable(BindingError):
    """An event cannot be read by the code at hand: what it needs is not here, or its fields do not fit.

    Attributes:
        lacks_value: no other worker can read it either: its fields do not fit, or an upcaster is missing or fails.
            Otherwise it waits for the code that can, such as that of a newer version.
    """
