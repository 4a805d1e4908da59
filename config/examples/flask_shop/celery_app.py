"""The app for `celery -A`, as in Flask's own guide for Celery."""

from config.demo import faults
from config.examples.flask_shop.shop import create_app

flask_app = create_app()
celery = flask_app.extensions["celery"]

# Orders can be staged (see `config.examples.staging`); a real shop has no such line.
faults.install()
