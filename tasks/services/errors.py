"""The errors by which the services say no.

    PermanentError              the library's: nothing was done, and no retry is worth it
    └── Refused                 the request is wrong, or came too late
        ├── InvalidRequest      the request makes no sense, today or tomorrow
        ├── KeyReused           the key belongs to another request
        ├── DoorClosed          the action was undone before it arrived
        ├── NotHeld             the reservation was released, committed or has been shipped
        ├── NotReserved         the booking was cancelled or confirmed
        └── NotOpen             the authorisation was voided or captured
    Exception
    └── Unavailable             an ordinary no, as any service has one: a step names it with `clean=`
        ├── OutOfStock          fewer pieces are left than were asked for
        └── SoldOut             fewer seats, rooms or cars are left than were asked for

These say that nothing was done. Any other error leaves that open: a `ConnectionError`, which a retry policy tries
again, and a mistake in the code as well.
"""

from sagas import PermanentError


class Refused(PermanentError):
    """The service said no before anything happened."""


class Unavailable(Exception):
    """There is not enough left, and nothing happened."""


class InvalidRequest(Refused):
    """The request makes no sense: correct it and start another saga."""


class KeyReused(Refused):
    """The key was used for another request: use `current_step.idempotency_key`, which no two steps share."""


class DoorClosed(Refused):
    """The action arrived after its own compensation, and must not happen any more."""


class OutOfStock(Unavailable):
    """Fewer pieces are left than were asked for."""


class NotHeld(Refused):
    """The reservation is not held (any more), so it can be neither shipped nor released nor committed."""


class SoldOut(Unavailable):
    """Fewer seats, rooms or cars are left than were asked for."""


class NotReserved(Refused):
    """The booking is not reserved (any more), so it can be neither confirmed nor cancelled."""


class NotOpen(Refused):
    """The authorisation is not open (any more), so it can be neither captured nor voided, nor be relied on."""
