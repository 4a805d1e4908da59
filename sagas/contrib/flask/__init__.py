"""Flask: an extension for application factories, which joins Flask-SQLAlchemy's session::

    sagas = FlaskSagas()

    def create_app() -> Flask:
        app = Flask(__name__)
        app.config.from_mapping(SQLALCHEMY_DATABASE_URI="postgresql://…", CELERY={"broker_url": "redis://…"})
        db.init_app(app)
        sagas.init_app(app)
        return app

    @app.post("/orders")
    def place():
        db.session.add(Order(…))
        run = order.start({"order_id": …}, key=…)    # inserted by db.session
        db.session.commit()                          # both rows or none; then the chain is sent
        return {"saga_id": str(run.id)}, 201

``flask sagas migrate`` makes the tables, ``celery -A make_celery worker`` runs the steps inside the app's context.
"""

from sagas.contrib.flask.extension import FlaskSagas
from sagas.contrib.flask.stream import event_stream

__all__ = ["FlaskSagas", "event_stream"]
