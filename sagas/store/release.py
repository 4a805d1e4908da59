"""The release of the library."""

from importlib.metadata import PackageNotFoundError, version

try:
    RELEASE = version("celery-sagas")
except PackageNotFoundError:  # run from its sources
    RELEASE = "unknown"
