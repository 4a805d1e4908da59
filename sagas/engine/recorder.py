"""`current_step.record`: undo data that a body hands to its compensation before it may fail."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sagas.errors import PayloadError, SagaError
from sagas.model import Address, ErrorInfo, Failed, Reason, Verdict, payload

if TYPE_CHECKING:
    from sagas.engine.core import Engine


class Recorder:
    """Keeps the records of one execution, and reads those of all executions of its action."""

    def __init__(
        self,
        engine: "Engine",
        instance_id: UUID,
        address: Address,
        token: UUID,
        step: str,
        seen: list[Any] | None = None,
    ) -> None:
        self._records, self._loop, self._secrecy = engine.store.records, engine.loop, engine.secrecy
        self._instance_id = instance_id
        self._address = address
        self._token = token
        self._step = step
        self._seen = [] if seen is None else seen
        self.has_recorded = False

    def record(self, data: Mapping[str, Any]) -> None:
        """Store data for the compensation at once, in a transaction of its own.

        Raises:
            SagaError: it was called in a compensation.
            PayloadError: the data cannot be stored; the message names the key.
        """
        if not self._address.is_action:
            raise SagaError("current_step.record() is for actions: nothing undoes a compensation")
        if not isinstance(data, Mapping):
            raise PayloadError(f"current_step.record() takes a mapping of names to values, not {payload.excerpt(data)}")
        self._seen.append(data)  # an error's text may contain its secrets
        encoded = self._secrecy.dumps(data, f"record of {self._step}")
        self.has_recorded = True
        if not self._records.add(self._instance_id, self._address, self._token, encoded):
            self._report()

    def _report(self) -> None:
        """Report an effect of an execution that lost its claim: it may have landed after its undo."""
        message = "it recorded an effect after its claim had been taken away"
        error = ErrorInfo(type=Reason.CLAIM_LOST, message=message, step=self._step)
        lost = Failed(address=self._address, token=self._token, error=error, verdict=Verdict.UNKNOWN)
        self._loop.handle(self._instance_id, lost)

    def all(self) -> list[dict[str, Any]]:
        """Return what the executions of the action have recorded so far, oldest first."""
        stored = self._records.of(self._instance_id, self._address.action)
        return [self._secrecy.open(payload.loads(text)) for text in stored]
