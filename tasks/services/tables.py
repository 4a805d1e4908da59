"""The services' tables: whatever a wrong saga could do to the books, a constraint here refuses.

One schema holds all services, for the example's sake. None reads another's tables, save that a shipment
takes the goods of a reservation; services with a database each would each have a `barrier` of their own.

    python -m tasks.services.tables     creates what is missing
"""

from typing import Final

from sqlalchemy import Engine, text

from tasks.services.database import engine as own_engine

_DDL: Final = """
CREATE SCHEMA IF NOT EXISTS shop;

-- What was asked for by key, and what was answered; closed_at: it was undone, or must never happen.
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

CREATE TABLE IF NOT EXISTS shop.reservation (
    id          text PRIMARY KEY DEFAULT 'res-' || gen_random_uuid(),
    key         text NOT NULL UNIQUE,
    order_id    text NOT NULL,
    status      text NOT NULL DEFAULT 'held' CHECK (status IN ('held', 'released', 'shipped')),
    moved_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
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

-- What shall go wrong. remaining: how often still, null for always; hits: how often it did.
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
    """Create what is missing of the `shop` schema; safe to call twice, and by many processes at once."""
    with engine.begin() as connection:
        # IF NOT EXISTS alone lets two creators collide in PostgreSQL's catalogue.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('shop.create_tables'))"))
        connection.exec_driver_sql(_DDL)


if __name__ == "__main__":
    create_tables(own_engine())
