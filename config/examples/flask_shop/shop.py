"""The application factory. Sagas need `FlaskSagas`, its `init_app`, and `SAGAS` in the config."""

from datetime import datetime
from decimal import Decimal

import click
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Numeric, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from config.settings import Settings
from sagas.contrib.flask import FlaskSagas


class Base(DeclarativeBase):
    """The base class of the shop's own tables."""


db = SQLAlchemy(model_class=Base)
sagas = FlaskSagas()


class Order(Base):
    """An order as it was placed. Its id is the saga's key."""

    __tablename__ = "shop_order"

    id: Mapped[str] = mapped_column(primary_key=True)
    sku: Mapped[str]
    quantity: Mapped[int]
    total: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    placed_at: Mapped[datetime] = mapped_column(server_default=func.now())


def create_app() -> Flask:
    """Create an application on the servers that the environment names."""
    from config.examples.flask_shop.views import shop

    servers = Settings.from_environment()
    app = Flask(__name__)
    app.config.from_mapping(
        SQLALCHEMY_DATABASE_URI=servers.database_url,
        CELERY={"broker_url": servers.broker_url, "imports": ["tasks.orders"], "task_ignore_result": True},
        SAGAS={"SCHEMA": servers.schema, "HEARTBEAT": servers.heartbeat, "SWEEP_EVERY": servers.sweep_every},
    )
    db.init_app(app)
    sagas.init_app(app)
    app.register_blueprint(shop)
    app.cli.add_command(init_db)
    return app


@click.command("init-db")
def init_db() -> None:
    """Create the shop's own table."""
    db.create_all()
