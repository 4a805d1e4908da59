"""What `celery -A` runs, as Flask's own guide for Celery writes it."""

from config.examples.flask_shop.shop import create_app

flask_app = create_app()
celery = flask_app.extensions["celery"]
