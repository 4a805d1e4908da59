"""Show stored values to people: secrets hidden, and taken out of texts."""

from dataclasses import dataclass
from typing import Any

from sagas.engine import redacted_error, redacted_value
from sagas.model import ErrorInfo, Secrecy
from sagas.model.secrecy import Redact
from sagas.store import error_from


@dataclass(frozen=True, slots=True)
class Show:
    """Shows stored values to people."""

    secrecy: Secrecy
    redact: Redact
    redact_data: Redact

    def value(self, stored: Any) -> Any:
        return redacted_value(self.secrecy.hide(stored), self.redact_data) if self.secrecy.is_wanted else stored

    def detail(self, stored: Any) -> Any:
        return redacted_value(self.secrecy.hide(stored), self.redact) if self.secrecy.is_wanted else stored

    def error(self, stored: dict[str, Any] | None) -> ErrorInfo | None:
        return redacted_error(error_from(stored), self.redact)
