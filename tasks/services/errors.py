"""How the services say no.

    PermanentError              the library's: no retry is worth it
    └── Refused                 a clean no: nothing happened, nothing needs undoing
        ├── InvalidRequest      the request makes no sense, today or tomorrow
        ├── KeyReused           the key belongs to another request
        ├── DoorClosed          the action was undone before it arrived
        ├── OutOfStock          fewer pieces are left than were asked for
        ├── NotHeld             the reservation was released, committed or has been shipped
        ├── SoldOut             fewer seats, rooms or cars are left than were asked for
        ├── NotReserved         the booking was cancelled or confirmed
        └── NotOpen             the authorisation was voided or captured

Anything whose outcome is unknown is a `ConnectionError`, which a retry policy takes for what it is.
"""

from sagas import PermanentError


class Refused(PermanentError):
    """The service said no before anything happened."""


class InvalidRequest(Refused):
    """The request makes no sense: correct it and start another saga."""


class KeyReused(Refused):
    """The key was used for another request: use `current_step.idempotency_key`, which no two steps share."""


class DoorClosed(Refused):
    """The action arrived after its own compensation, and must not happen any more."""


class OutOfStock(Refused):
    """Fewer pieces are left than were asked for."""


class NotHeld(Refused):
    """The reservation is not held (any more), so it can be neither shipped nor released nor committed."""


class SoldOut(Refused):
    """Fewer seats, rooms or cars are left than were asked for."""


class NotReserved(Refused):
    """The booking is not reserved (any more), so it can be neither confirmed nor cancelled."""


class NotOpen(Refused):
    """The authorisation is not open (any more), so it can be neither captured nor voided, nor be relied on."""
