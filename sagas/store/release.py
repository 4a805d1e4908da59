"""Which release of the library this is."""

from importlib.metadata import PackageNotFoundError, version

try:
    RELEASE = version("celery-sagas")
except PackageNotFoundError:  # run from its sources
    RELEASE = "unknown"
