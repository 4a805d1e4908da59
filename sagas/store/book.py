"""The statement book: each named statement is written for a schema, and compiled, once."""

from sqlalchemy import TextClause, text

from sagas.store.database import Database
from sagas.store.migrations.runner import quote
from sagas.store.prepared import Prepared


class StatementBook:
    """The named statements as they are executed in one schema, for which ``{s}`` stands in them."""

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self._quoted_schema = quote(schema)
        self._bound: dict[str, TextClause] = {}
        self._prepared: dict[str, Prepared] = {}

    def written(self, statement: str) -> str:
        """Return it as text, with the schema's name."""
        return statement.replace("{s}", self._quoted_schema)

    def bound(self, statement: str) -> TextClause:
        """Return it as SQLAlchemy executes it, with parameters by name."""
        if statement not in self._bound:
            self._bound[statement] = text(self.written(statement))
        return self._bound[statement]

    def prepared(self, statement: str) -> Prepared:
        """Return it as one of the hot path, which sessions plan once."""
        if statement not in self._prepared:
            self._prepared[statement] = Prepared(self.written(statement))
        return self._prepared[statement]


class InSchema:
    """A base for classes that run named statements."""

    def __init__(self, database: Database, book: StatementBook) -> None:
        self._database = database
        self._book = book
        self._sql = book.bound
