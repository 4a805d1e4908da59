"""The services' tables: constraints refuse whatever a wrong saga could do to the books.

One schema holds all services, for the example's sake. None reads another's tables, except that a shipment
takes the goods of a reservation, and that a trip is confirmed only against an open authorisation; services
with a database each would each have a `barrier` of their own.

    python -m tasks.services.tables     creates what is missing
"""

from typing import Final

from sqlalchemy import Engine, text

from tasks.services.database import engine as own_engine

_DDL: Final = """
CREATE SCHEMA IF NOT EXISTS shop;

-- What was asked for by key, and what was answered; closed_at: it was undone, or must never happen.
-- (A trip is an order too: its id is the order's.)
CREATE TABLE IF NOT EXISTS shop.barrier (
    service     text NOT NULL,
    key         text NOT NULL,
    order_id    text,
    request     jsonb,
    answer      jsonb,
    closed_at   timestamptz,
    PRIMARY KEY (service, key),
    CHECK (answer IS NULL OR request IS NOT NULL),
    CHECK (request IS NOT NULL OR closed_at IS NOT NULL)
);

CREATE TABLE IF NOT EXISTS shop.stock (
    sku         text PRIMARY KEY,
    initial     integer NOT NULL CHECK (initial >= 0),
    available   integer NOT NULL CHECK (available >= 0),
    held        integer NOT NULL DEFAULT 0 CHECK (held >= 0),
    shipped     integer NOT NULL DEFAULT 0 CHECK (shipped >= 0),
    CONSTRAINT stock_conserved CHECK (available + held + shipped = initial)
);

-- What was committed belongs to its buyer: it can still be shipped, but not be released.
CREATE TABLE IF NOT EXISTS shop.reservation (
    id          text PRIMARY KEY DEFAULT 'res-' || gen_random_uuid(),
    key         text NOT NULL UNIQUE,
    order_id    text NOT NULL,
    status      text NOT NULL DEFAULT 'held' CHECK (status IN ('held', 'released', 'shipped')),
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    committed_at    timestamptz,
    CONSTRAINT committed_is_not_released CHECK (committed_at IS NULL OR status <> 'released')
);
ALTER TABLE shop.reservation ADD COLUMN IF NOT EXISTS committed_at timestamptz;  -- for the tables of an older demo
CREATE INDEX IF NOT EXISTS reservation_order ON shop.reservation (order_id);

CREATE TABLE IF NOT EXISTS shop.reservation_line (
    reservation_id  text NOT NULL REFERENCES shop.reservation,
    sku             text NOT NULL REFERENCES shop.stock,
    quantity        integer NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (reservation_id, sku)
);

CREATE TABLE IF NOT EXISTS shop.charge (
    id          text PRIMARY KEY DEFAULT 'ch-' || gen_random_uuid(),
    key         text NOT NULL UNIQUE,
    order_id    text NOT NULL,
    amount      numeric(12, 2) NOT NULL CHECK (amount > 0),
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (id, amount)
);
CREATE INDEX IF NOT EXISTS charge_order ON shop.charge (order_id);

-- One refund a charge, and of all of it: both are keys, so no code can get them wrong.
CREATE TABLE IF NOT EXISTS shop.refund (
    id          text NOT NULL UNIQUE DEFAULT 'ref-' || gen_random_uuid(),
    charge_id   text NOT NULL CONSTRAINT one_refund_per_charge PRIMARY KEY,
    amount      numeric(12, 2) NOT NULL,
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT refund_is_the_charge FOREIGN KEY (charge_id, amount) REFERENCES shop.charge (id, amount)
);

CREATE TABLE IF NOT EXISTS shop.shipment (
    id              text PRIMARY KEY DEFAULT 'sh-' || gen_random_uuid(),
    key             text NOT NULL UNIQUE,
    order_id        text NOT NULL,
    reservation_id  text NOT NULL UNIQUE REFERENCES shop.reservation,
    moved_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS shipment_order ON shop.shipment (order_id);

CREATE TABLE IF NOT EXISTS shop.notification (
    id          text PRIMARY KEY DEFAULT 'msg-' || gen_random_uuid(),
    key         text NOT NULL UNIQUE,
    order_id    text NOT NULL,
    subject     text NOT NULL,
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS notification_order ON shop.notification (order_id);

CREATE TABLE IF NOT EXISTS shop.authorisation (
    id          text PRIMARY KEY DEFAULT 'auth-' || gen_random_uuid(),
    key         text NOT NULL UNIQUE,
    trip_id     text NOT NULL,
    amount      numeric(12, 2) NOT NULL CHECK (amount > 0),
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (id, trip_id),
    UNIQUE (id, amount)
);
CREATE INDEX IF NOT EXISTS authorisation_trip ON shop.authorisation (trip_id);

-- The end of an authorisation: captured or voided, never both, never twice, never for more than was authorised.
CREATE TABLE IF NOT EXISTS shop.settlement (
    id                  text NOT NULL UNIQUE DEFAULT 'set-' || gen_random_uuid(),
    authorisation_id    text NOT NULL CONSTRAINT one_settlement_per_authorisation PRIMARY KEY,
    kind                text NOT NULL CHECK (kind IN ('capture', 'void')),
    authorised          numeric(12, 2) NOT NULL,
    captured            numeric(12, 2) NOT NULL,
    moved_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT void_captures_nothing CHECK ((kind = 'void') = (captured = 0)),
    CONSTRAINT captured_within_authorised CHECK (captured BETWEEN 0 AND authorised),
    CONSTRAINT authorised_is_the_authorisation FOREIGN KEY (authorisation_id, authorised)
        REFERENCES shop.authorisation (id, amount)
);

-- What can be booked: the seats of a flight, the rooms of a hotel, the cars of a class.
CREATE TABLE IF NOT EXISTS shop.offer (
    kind        text NOT NULL CHECK (kind IN ('flight', 'hotel', 'car')),
    code        text NOT NULL,
    initial     integer NOT NULL CHECK (initial >= 0),
    available   integer NOT NULL CHECK (available >= 0),
    reserved    integer NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    confirmed   integer NOT NULL DEFAULT 0 CHECK (confirmed >= 0),
    PRIMARY KEY (kind, code),
    CONSTRAINT places_conserved CHECK (available + reserved + confirmed = initial)
);

-- A trip's bookings are confirmed together, against money that is set aside for this very trip.
CREATE TABLE IF NOT EXISTS shop.confirmation (
    id                  text PRIMARY KEY DEFAULT 'conf-' || gen_random_uuid(),
    key                 text NOT NULL UNIQUE,
    trip_id             text NOT NULL,
    authorisation_id    text NOT NULL CONSTRAINT one_confirmation_per_authorisation UNIQUE,
    moved_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (id, trip_id),
    CONSTRAINT confirmed_on_own_authorisation FOREIGN KEY (authorisation_id, trip_id)
        REFERENCES shop.authorisation (id, trip_id)
);

CREATE TABLE IF NOT EXISTS shop.booking (
    id              text PRIMARY KEY DEFAULT 'bk-' || gen_random_uuid(),
    key             text NOT NULL UNIQUE,
    trip_id         text NOT NULL,
    kind            text NOT NULL,
    code            text NOT NULL,
    places          integer NOT NULL CHECK (places > 0),
    status          text NOT NULL DEFAULT 'reserved' CHECK (status IN ('reserved', 'cancelled', 'confirmed')),
    confirmation_id text,
    moved_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (kind, code) REFERENCES shop.offer,
    CONSTRAINT confirmed_has_confirmation CHECK ((status = 'confirmed') = (confirmation_id IS NOT NULL)),
    CONSTRAINT confirmed_by_own_confirmation FOREIGN KEY (confirmation_id, trip_id)
        REFERENCES shop.confirmation (id, trip_id)
);
CREATE INDEX IF NOT EXISTS booking_trip ON shop.booking (trip_id);

-- Faults to inject. remaining: how many more times, null for always; hits: how many times so far.
CREATE TABLE IF NOT EXISTS shop.fault (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service     text NOT NULL,
    operation   text NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('refuse', 'error', 'latency', 'crash')),
    moment      text NOT NULL CHECK (moment IN ('before', 'after')),
    seconds     double precision NOT NULL DEFAULT 0 CHECK (seconds >= 0),
    remaining   integer CHECK (remaining >= 0),
    order_id    text,
    hits        integer NOT NULL DEFAULT 0,
    CONSTRAINT refuse_before_any_effect CHECK (kind <> 'refuse' OR moment = 'before')
);
"""


def create_tables(engine: Engine) -> None:
    """Create whatever is missing of the `shop` schema; safe to call twice, and by many processes at once."""
    with engine.begin() as connection:
        # IF NOT EXISTS alone lets two creators collide in PostgreSQL's catalogue.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('shop.create_tables'))"))
        connection.exec_driver_sql(_DDL)


if __name__ == "__main__":
    create_tables(own_engine())
