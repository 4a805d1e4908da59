"""The tables as SQLAlchemy sees them; a test holds them to the migrations."""

from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.types import UserDefinedType


class _Json(UserDefinedType[Any]):
    """The jsonb type, written as JSON text and read as the driver decodes it: the library has its own payload codec."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSONB"


def _time(name: str, **options: Any) -> Column[Any]:
    return Column(name, DateTime(timezone=True), **options)


class Tables:
    """The library's tables in one schema."""

    def __init__(self, schema: str) -> None:
        metadata = MetaData(schema=schema)
        self.metadata = metadata
        self.definition = Table(
            "saga_definition",
            metadata,
            Column("saga", Text, primary_key=True),
            Column("version", Integer, primary_key=True),
            Column("plan_hash", Text, nullable=False),
            _time("registered_at", nullable=False),
            Column("plan", _Json),
        )
        self.instance = Table(
            "saga_instance",
            metadata,
            Column("id", Uuid, primary_key=True),
            Column("saga", Text, nullable=False),
            Column("version", Integer, nullable=False),
            Column("key", Text),
            Column("current", Boolean, nullable=False),
            Column("status", Text, nullable=False),
            Column("plan", _Json, nullable=False),
            Column("plan_hash", Text, nullable=False),
            Column("data", _Json, nullable=False),
            Column("error", _Json),
            Column("stop", _Json),
            _time("deadline"),
            Column("deadline_seconds", Float),
            _time("due_at"),
            Column("pending", Integer, nullable=False),
            Column("parent_id", Uuid),
            Column("written", _Json),
            Column("headers", _Json),
            _time("created_at", nullable=False),
            _time("updated_at", nullable=False),
            _time("finished_at"),
            _time("unreadable_at"),
            Column("numbered", Integer),
            Column("closed", _Json),
            Column("ended_by", Integer),
            _time("turned_at"),
            Column("correlation_id", Uuid),
            Column("caused_by", Text),
            Column("came", _Json),
            _time("quiet_from"),
            _time("quiet_at"),
            Column("depth", Integer),
            Column("setback", Text),  # PostgreSQL itself generates it from the status
        )
        self.step = Table(
            "saga_step",
            metadata,
            Column("instance_id", Uuid, primary_key=True),
            Column("position", Integer, primary_key=True),
            Column("branch", Integer, primary_key=True),
            Column("round", Integer, primary_key=True),
            Column("lane", Integer, nullable=False),
            Column("name", Text, nullable=False),
            Column("task", Text),
            Column("queue", Text),
            Column("timeout", Float, nullable=False),
            Column("soft_timeout", Float),
            Column("status", Text, nullable=False),
            Column("token", Uuid),
            Column("worker_id", Uuid),
            Column("delivery", Text),
            Column("attempts", Integer, nullable=False),
            Column("losses", Integer, nullable=False),
            Column("polls", Integer, nullable=False),
            _time("polled_since"),
            _time("parked_since"),
            Column("forgiven", Integer, nullable=False),
            Column("doubt", Boolean, nullable=False),
            Column("stray", Boolean, nullable=False),
            Column("dispatches", Integer, nullable=False),
            Column("line", Text),
            Column("epoch", Uuid),
            Column("synced_claim", Boolean),
            _time("created_at", nullable=False),
            _time("dispatched_at"),
            _time("not_before"),
            _time("claimed_at"),
            _time("first_claimed_at"),
            _time("finished_at"),
            Column("result", _Json),
            Column("error", _Json),
            Column("event_id", Uuid),
            Column("edits", Integer, nullable=False),
            Column("input", _Json),
            _time("dead_at"),
        )
        self.event = Table(
            "saga_event",
            metadata,
            Column("id", BigInteger, Identity(always=True), primary_key=True),
            Column("instance_id", Uuid, nullable=False),
            _time("at", nullable=False),
            Column("event", Text, nullable=False),
            Column("position", Integer),
            Column("branch", Integer),
            Column("round", Integer),
            Column("step", Text),
            Column("detail", _Json, nullable=False),
        )
        self.inbox = Table(
            "saga_inbox",
            metadata,
            Column("id", BigInteger, Identity(always=True), primary_key=True),
            Column("instance_id", Uuid, nullable=False),
            Column("kind", Text, nullable=False),
            Column("name", Text, nullable=False),
            Column("key", Text),
            Column("payload", _Json),
            Column("sent_by", Text, nullable=False),
            _time("sent_at", nullable=False),
            _time("seen_at"),
            _time("consumed_at"),
            Column("event_id", Uuid),
            Column("version", Integer),
            Column("number", Integer),
            Column("cause", Integer),
            Column("depth", Integer, nullable=False),
            Column("letter", Text),
            _time("acknowledged_at"),
            Column("caused_by", Text),
            Column("choreography", Text),
            Column("run_key", Text),
            _time("early_until"),
        )
        self.handler = Table(
            "saga_handler",
            metadata,
            Column("choreography", Text, primary_key=True),
            Column("handler", Text, primary_key=True),
            Column("dead_in_row", Integer, nullable=False),
            Column("last_error", Text),
            _time("paused_at"),
            _time("paused_until"),
            Column("pause_seconds", Float, nullable=False),
        )
        self.alarm = Table(
            "saga_alarm",
            metadata,
            Column("choreography", Text, primary_key=True),
            Column("handler", Text, primary_key=True),
            Column("error", Text, primary_key=True),
            _time("former_at", nullable=False),
            _time("told_at", nullable=False),
            Column("more", Boolean, nullable=False),
        )
        self.exported = Table(
            "saga_export",
            metadata,
            Column("id", BigInteger, Identity(always=True), primary_key=True),
            Column("bridge", Text, nullable=False),
            Column("run_id", Uuid, nullable=False),
            Column("index", Integer, nullable=False),
            Column("number", Integer, nullable=False),
            _time("born_at", nullable=False),
            _time("due_at"),
            _time("sent_at"),
            _time("received_at"),
            Column("tries", Integer, nullable=False),
            Column("skipped", Text),
        )
        self.imported = Table(
            "saga_import",
            metadata,
            Column("bridge", Text, primary_key=True),
            Column("event_id", Uuid, primary_key=True),
            Column("run_there", Uuid, nullable=False),
            Column("run_id", Uuid, nullable=False),
            Column("index", Integer),
            Column("message", LargeBinary),
            _time("received_at", nullable=False),
            _time("taken_at"),
            Column("refused", Text),
            _time("acknowledged_at"),
        )
        self.bridge = Table(
            "saga_bridge",
            metadata,
            Column("name", Text, primary_key=True),
            _time("closed_until"),
            Column("error", Text),
            Column("dropped", BigInteger, nullable=False),
            _time("dropped_at"),
            Column("dropped_for", Text),
        )
        self.lock = Table(
            "saga_lock",
            metadata,
            Column("resource", Text, primary_key=True),
            Column("instance_id", Uuid, primary_key=True),
            Column("ticket", BigInteger, nullable=False),
            Column("capacity", Integer, nullable=False),
            Column("lasting", Boolean, nullable=False),
            _time("granted_at"),
            _time("ended_at"),
        )
        self.record = Table(
            "saga_record",
            metadata,
            Column("id", BigInteger, Identity(always=True), primary_key=True),
            Column("instance_id", Uuid, nullable=False),
            Column("position", Integer, nullable=False),
            Column("branch", Integer, nullable=False),
            Column("token", Uuid, nullable=False),
            _time("at", nullable=False),
            Column("data", _Json, nullable=False),
        )
        self.worker = Table(
            "saga_worker",
            metadata,
            Column("id", Uuid, primary_key=True),
            Column("hostname", Text, nullable=False),
            Column("pid", Integer, nullable=False),
            Column("queues", ARRAY(Text), nullable=False),
            Column("deliveries", ARRAY(Text), nullable=False),
            Column("slots", Integer, nullable=False),
            Column("kept", ARRAY(Text), nullable=False),
            Column("to_stop", ARRAY(Text), nullable=False),
            _time("started_at", nullable=False),
            _time("heartbeat_at", nullable=False),
            _time("listed_at", nullable=False),
            _time("idle_at"),
            _time("suspected_at"),
            _time("dead_at"),
            _time("stopped_at"),
            Column("release", Text),
            Column("app", Text),
            Column("control_queue", Text),
            Column("broker", Text),
            Column("plans", _Json),
            Column("syncs_claims", Boolean, nullable=False),
        )
        self.epoch = Table(
            "saga_epoch",
            metadata,
            Column("singleton", Boolean, primary_key=True),
            Column("epoch", Uuid, nullable=False),
        )
        self.queue = Table(
            "saga_queue",
            metadata,
            Column("queue", Text, primary_key=True),
            _time("claimed_born", nullable=False),
            _time("claimed_sent"),
        )
        self.lease = Table(
            "saga_lease",
            metadata,
            Column("name", Text, primary_key=True),
            Column("holder", Uuid, nullable=False),
            _time("until", nullable=False),
        )
        self.sweep = Table(
            "saga_sweep",
            metadata,
            Column("singleton", Boolean, primary_key=True),
            _time("swept_at", nullable=False),
            _time("outage_from"),
            _time("outage_until"),
            Column("home", Uuid, nullable=False),
        )
