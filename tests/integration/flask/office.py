"""A Flask application as a user writes one: a factory, Flask-SQLAlchemy, a table of orders, and a saga of two steps."""

import os
from typing import Any

from celery import shared_task
from flask import Flask, current_app, g
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sagas import PermanentError, Saga, Step, current_step
from sagas.contrib.flask import FlaskSagas


class Base(DeclarativeBase):
    """What the office's tables are declared on."""


db = SQLAlchemy(model_class=Base)
sagas = FlaskSagas()


class Order(Base):
    __tablename__ = "office_order"

    id: Mapped[int] = mapped_column(primary_key=True)
    note: Mapped[str]


class Note(Base):
    """What the steps write down, and what the end of their app context adds."""

    __tablename__ = "office_note"

    id: Mapped[int] = mapped_column(primary_key=True)
    saga_id: Mapped[str]
    text: Mapped[str]


def bare_app(database_url: str, broker_url: str, **config: Any) -> Flask:
    """Configured, without any extension yet."""
    app = Flask("office")
    app.config.from_mapping(
        SQLALCHEMY_DATABASE_URI=database_url,
        CELERY={"broker_url": broker_url, "worker_hijack_root_logger": False},
        SAGAS={"HEARTBEAT": 0.5, "SWEEP_EVERY": 0.5},
        GREETING="hello",
    )
    app.config.from_mapping(config)
    app.teardown_appcontext(note_the_end)
    return app


def create_app(database_url: str, broker_url: str, **config: Any) -> Flask:
    app = bare_app(database_url, broker_url, **config)
    db.init_app(app)
    sagas.init_app(app)
    return app


def write_down(text: str) -> None:
    db.session.add(Note(saga_id=str(current_step.saga_id), text=text))
    db.session.commit()


@shared_task
def greet(name: str) -> dict[str, str]:
    write_down(f"{current_app.config['GREETING']} {name}")
    g.greeted = str(current_step.saga_id)
    # Never committed: it must be gone with the app context.
    db.session.add(Note(saga_id=str(current_step.saga_id), text="forgotten"))
    return {"greeted": name}


@shared_task
def take_back() -> None:
    write_down(f"{current_app.config['GREETING']} no more")


@shared_task
def part(angry: bool = False) -> None:
    if angry:
        raise PermanentError("no farewell")
    write_down("bye")


def note_the_end(error: BaseException | None) -> None:
    """The application's own teardown."""
    if "greeted" in g:
        with db.engine.begin() as connection:
            connection.execute(Note.__table__.insert().values(saga_id=g.greeted, text="context ended"))


greeting = Saga("greeting", steps=[Step(greet, compensation=take_back), Step(part, compensation=None)])

if "SAGAS_BROKER_URL" in os.environ and "SAGAS_DATABASE_URL" in os.environ:
    # A worker's process: `celery -A tests.integration.flask.office`.
    celery = create_app(os.environ["SAGAS_DATABASE_URL"], os.environ["SAGAS_BROKER_URL"]).extensions["celery"]
