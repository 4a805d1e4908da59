"""Money: whole cents, never a float."""

from decimal import Decimal, InvalidOperation
from typing import Final

from tasks.services.errors import InvalidRequest

_CENT: Final = Decimal("0.01")
_LIMIT: Final = Decimal("9999999999.99")


def in_cents(amount: object) -> Decimal:
    """Return the amount, if it is valid.

    Raises:
        InvalidRequest: it is less than a cent, has fractions of one, or is not a number.
    """
    # A string is accepted since an order may come as JSON, where "9.90" is the only exact way to write it.
    try:
        money = Decimal(amount) if isinstance(amount, Decimal | str) else Decimal("NaN")
    except InvalidOperation:
        money = Decimal("NaN")
    if not (money.is_finite() and _CENT <= money <= _LIMIT and money == money.quantize(_CENT)):
        raise InvalidRequest(f"an amount is a Decimal of at least a cent, in whole cents, not {amount!r}")
    return money.quantize(_CENT)
