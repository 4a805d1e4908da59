"""Every error of the library, one tree::

    SagaError
    ├── DefinitionError          a saga was declared in a way that cannot work
    ├── ConfigurationError       the app or the database is not set up for sagas
    │   ├── SchemaMissing        the tables do not exist, or are too old
    │   ├── DriverMissing        the package that the database URL asks for is not installed
    │   ├── NotBound             no ``Sagas(app, …)`` is known for this saga
    │   └── SecretUnreadable     no key in this process decrypts a stored value
    ├── DatabaseUnreachable      the database does not answer (also a ConnectionError)
    ├── PayloadError             data that cannot be stored and come back as it was (also a ValueError)
    ├── StartRefused
    │   ├── MissingInput         a step needs a parameter that nothing provides
    │   ├── PlanChanged          the steps differ under the same version
    │   ├── StartInProgress      the key is being started in another open transaction
    │   ├── KeyInUse             the key has an instance, which ``if_exists=`` does not allow
    │   ├── NotRegistered        no worker has registered the choreography
    │   └── ResourceLocked       another instance holds a resource that this one locks
    ├── PublishInProgress        the same event is being published in another open transaction
    ├── SignalInProgress         the same signal is being sent in another open transaction
    ├── InstanceNotFound         no such instance (also a LookupError)
    ├── RowDamaged               the rows of an instance cannot be read, or do not fit together (also a RuntimeError)
    ├── TransitionRefused        the instance's status does not allow what was asked
    ├── WaitTimeout              ``wait`` gave up; the saga goes on (also a TimeoutError)
    ├── WaitRefused              ``wait`` or ``watch`` inside a step, which would hold its worker (also a RuntimeError)
    ├── NoCurrentStep            ``current_step`` was used outside a step
    ├── NotInAStep               a step's body asked Celery for something a saga cannot do (``self.replace``)
    ├── BindingError             a task's parameters cannot be filled from the saga's data
    └── PermanentError           raised *by an action*: nothing was done, and no retry is worth it

Each message says what is wrong, where, and what to do about it. All errors survive pickling, since Celery pickles what
a pool process raises: an error takes its message as its only argument.
"""


class SagaError(Exception):
    """The root of everything that the library raises on purpose."""


class DefinitionError(SagaError):
    """The saga, a step or a policy is declared in a way that cannot work; the message names it and the cure."""


class ConfigurationError(SagaError):
    """The Celery app, the settings or the database are not ready for sagas."""


class SchemaMissing(ConfigurationError):
    """The library's tables are not in the database. Run ``celery -A <app> sagas migrate``."""


class DriverMissing(ConfigurationError):
    """The package that connects to the database is not installed; the message names it."""


class NotBound(ConfigurationError):
    """No ``Sagas(app, database=…)`` is known for this saga, or more than one could be meant."""


class SecretUnreadable(ConfigurationError):
    """No key in this process decrypts a stored value. The step waits for a process that has the key."""


class DatabaseUnreachable(SagaError, ConnectionError):
    """The database does not answer, or refuses the connection. `start` with a ``key`` is safe to call again."""


class PayloadError(SagaError, ValueError):
    """Data that JSON and PostgreSQL cannot keep and give back unchanged; the message names the key."""


class StartRefused(SagaError):
    """``start`` refused: nothing was inserted, nothing was sent."""


class MissingInput(StartRefused):
    """A step requires a parameter that neither the input nor an earlier step provides."""


class PlanChanged(StartRefused):
    """The steps differ from those that this version was started with. Raise ``version=``."""


class StartInProgress(StartRefused):
    """The same key is being started in a transaction that is still open. Try again after it ends."""


class KeyInUse(StartRefused):
    """The business key has an instance, and ``if_exists=`` rejects that, or does not restart it since it is failed."""


class ResourceLocked(StartRefused):
    """Another instance holds a resource that this saga locks, and the saga does not wait for it."""


class NotRegistered(StartRefused):
    """No worker has registered the choreography, so that its whole graph is not known. Start one, or register it."""


class PublishInProgress(SagaError):
    """An event with the same key is being published in a transaction that is still open. Try again after it ends."""


class SignalInProgress(SagaError):
    """The same signal is being sent in a transaction that is still open. Try again after it ends."""


class InstanceNotFound(SagaError, LookupError):
    """There is no saga instance with this id."""


class RowDamaged(SagaError, RuntimeError):
    """The rows of an instance cannot be read or do not fit together: edited by hand, or written by a newer release."""


class TransitionRefused(SagaError):
    """The instance's status does not allow the request; the message says which status would."""


class WaitTimeout(SagaError, TimeoutError):
    """The instance had not ended when ``wait`` gave up. The saga itself goes on."""


class WaitRefused(SagaError, RuntimeError):
    """``wait`` or ``watch`` was called in a running step, as Celery refuses ``result.get()`` inside a task."""


class NoCurrentStep(SagaError, RuntimeError):
    """``current_step`` was read outside a running step or compensation."""


class NotInAStep(SagaError):
    """A step's body asked Celery for something a saga cannot do: ``self.replace``, or ``self.retry`` with changes."""


class BindingError(SagaError, TypeError):
    """A task's parameters cannot be filled from the saga's data. The step waits for a deploy or for a person.

    Attributes:
        lacks_value: the data has no value for a parameter that requires one.
    """

    lacks_value = False


class PermanentError(SagaError):
    """Raise it in an action to say that nothing was done and no retry is worth it.

    The saga then compensates the steps before this one. Subclass it for your own refusals (``CardDeclined``).
    """
