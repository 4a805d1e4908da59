"""``flask sagas …``: the commands of ``celery -A … sagas``, for the current app."""

import click
from flask import current_app
from flask.cli import with_appcontext

from sagas.cli import sagas as commands
from sagas.cli.commands import cli_errors
from sagas.errors import ConfigurationError, NotBound
from sagas.extension import Sagas


def current_sagas() -> Sagas:
    """Return the `Sagas` of the current app.

    Raises:
        RuntimeError: raised by Flask outside an app context.
        ConfigurationError: the app has none, or its Celery app was replaced.
    """
    found = current_app.extensions.get("sagas")
    if not isinstance(found, Sagas):
        raise NotBound(f"the app {current_app.name!r} has no Sagas: call FlaskSagas.init_app(app) where it is made")
    if current_app.extensions.get("celery") is not found.app:
        raise ConfigurationError(
            "app.extensions['celery'] was replaced after FlaskSagas.init_app(app), so workers would not know its "
            "sagas: call celery_init_app(app) before it"
        )
    return found


@click.group(name="sagas", commands=dict(commands.commands), help=commands.help)
@with_appcontext
@click.pass_context
def flask_sagas(context: click.Context) -> None:
    with cli_errors():
        context.obj = current_sagas()  # the commands expect an object with an `app`
