"""A trip: flight, hotel and perhaps a car, all of them or none, and no money taken before all of them are there.

    ┌► reserve_flight ─┐
    ├► reserve_hotel  ─┼─► authorise_payment ──► confirm_bookings ──► capture_payment ──► send_itinerary
    └► reserve_car    ─┘           ▲               (the pivot)         (only forward)      (best effort)
         ▲   ▲   ▲                 │
         cancel_…  ◄────── void_authorisation

The three reservations are independent of each other, so they are made in parallel, and undone in parallel. Without a
car that step is skipped, and there is nothing to undo. If one says no, those that still run are awaited, since it is
unknown yet what they did, and then everything that was reserved is cancelled.

The money is set aside before the pivot and taken after it. So the card can be declined while everything can
still be undone, and undoing it costs no refund. The capture can only be late: the money is set aside.

    run = travel.start(
        {"trip_id": "7", "travellers": 2, "flight": "LX14", "hotel": "Seeblick", "car": None, "price": Decimal("640")},
        key="7",
    )
"""

from decimal import Decimal
from typing import TypedDict

from celery import shared_task

from sagas import BestEffort, Pivot, Retriable, Retry, Saga, Step, current_step, parallel
from tasks.services import authorisation, booking, notification
from tasks.services.authorisation import Authorised, Captured
from tasks.services.booking import Confirmed
from tasks.services.errors import SoldOut
from tasks.services.notification import Sent


class Trip(TypedDict):
    """The input of `travel.start`: the travellers, and the codes of what to book; no car if it is None."""

    trip_id: str
    travellers: int
    flight: str
    hotel: str
    car: str | None
    price: Decimal


# Branches run at the same time, so each must return its own names: a single `booking_id` would have three values.
class FlightReserved(TypedDict):
    """The answer of `reserve_flight`."""

    flight_id: str


class HotelReserved(TypedDict):
    """The answer of `reserve_hotel`."""

    hotel_id: str


class CarReserved(TypedDict):
    """The answer of `reserve_car`."""

    car_id: str


@shared_task
def reserve_flight(trip_id: str, flight: str, travellers: int) -> FlightReserved:
    """Hold a seat for each traveller."""
    reserved = booking.reserve("flight", flight, trip_id, places=travellers, key=current_step.idempotency_key)
    return {"flight_id": reserved["booking_id"]}


@shared_task
def cancel_flight() -> None:
    """Give up the seats that `reserve_flight` held, if it did."""
    booking.cancel("flight", key=current_step.action_key)


@shared_task
def reserve_hotel(trip_id: str, hotel: str) -> HotelReserved:
    """Hold a room."""
    return {"hotel_id": booking.reserve("hotel", hotel, trip_id, key=current_step.idempotency_key)["booking_id"]}


@shared_task
def cancel_hotel() -> None:
    """Give up the room that `reserve_hotel` held, if it did."""
    booking.cancel("hotel", key=current_step.action_key)


@shared_task
def reserve_car(trip_id: str, car: str) -> CarReserved:
    """Hold a car."""
    return {"car_id": booking.reserve("car", car, trip_id, key=current_step.idempotency_key)["booking_id"]}


@shared_task
def cancel_car() -> None:
    """Give up the car that `reserve_car` held, if it did."""
    booking.cancel("car", key=current_step.action_key)


@shared_task
def authorise_payment(trip_id: str, price: Decimal) -> Authorised:
    """Set the price aside on the traveller's card."""
    return authorisation.authorise(trip_id, price, key=current_step.idempotency_key)


@shared_task
def void_authorisation() -> None:
    """Let go of what `authorise_payment` set aside, if it did."""
    authorisation.void(key=current_step.action_key)


@shared_task
def confirm_bookings(
    trip_id: str, authorisation_id: str, flight_id: str, hotel_id: str, car_id: str | None = None
) -> Confirmed:
    """Buy all reservations at once: this is the last step that may say no. Without a car there is no `car_id`."""
    booking_ids = [flight_id, hotel_id, *([car_id] if car_id else [])]
    return booking.confirm(trip_id, booking_ids, authorisation_id, key=current_step.idempotency_key)


@shared_task
def capture_payment(trip_id: str, authorisation_id: str, price: Decimal) -> Captured:
    """Take what was set aside."""
    return authorisation.capture(trip_id, authorisation_id, price, key=current_step.idempotency_key)


@shared_task
def send_itinerary(trip_id: str) -> Sent:
    """Tell the traveller."""
    return notification.send(trip_id, "itinerary", key=current_step.idempotency_key)


# A lost connection says nothing about the outcome; the key makes asking again harmless.
_ASK_AGAIN = Retry(max_attempts=5, on=(ConnectionError,), backoff=0.5)
# Being sold out is a clean no, because the steps say so. Any other error but a `PermanentError` leaves a reservation in
# doubt, so that it is cancelled too.
_NO = (SoldOut,)

travel = Saga(
    "travel",
    version=2,
    input=Trip,
    steps=[
        parallel(
            Step(reserve_flight, compensation=cancel_flight, clean=_NO, retry=_ASK_AGAIN, timeout=30),
            Step(reserve_hotel, compensation=cancel_hotel, clean=_NO, retry=_ASK_AGAIN, timeout=30),
            Step(reserve_car, compensation=cancel_car, when="car", clean=_NO, retry=_ASK_AGAIN, timeout=30),
            undo="parallel",
        ),
        Step(
            authorise_payment,
            compensation=void_authorisation,
            clean=(),  # says no by a PermanentError
            retry=Retry(max_attempts=3, on=(ConnectionError,), backoff=1.0, factor=3.0, max_backoff=10.0),
            timeout=60,
        ),
        # In doubt about the pivot a saga can go neither back nor on: so this one asks longer than the others.
        Pivot(
            confirm_bookings,
            clean=(),  # says no by a PermanentError
            retry=Retry(max_attempts=10, on=(ConnectionError,), backoff=0.5, max_backoff=30.0),
            timeout=60,
        ),
        # An authorisation lasts for days, and so does the patience of this step: then a person should look.
        Retriable(
            capture_payment,
            retry=Retry(max_attempts=1000, on=(Exception,), backoff=1.0, max_backoff=300.0),
            timeout=60,
        ),
        BestEffort(
            send_itinerary,
            retry=Retry(max_attempts=3, on=(ConnectionError,), backoff=0.5),
            timeout=30,
        ),
    ],
)
