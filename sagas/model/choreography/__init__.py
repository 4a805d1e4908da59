"""The rules of a choreographed run as pure values and functions, on top of those that it shares with sagas."""

from sagas.model.choreography.plan import (
    BridgePlan,
    ChoreographyPlan,
    EventPlan,
    FieldPlan,
    HandlerPlan,
    IfDead,
    Order,
    is_choreography,
)

__all__ = [
    "BridgePlan",
    "ChoreographyPlan",
    "EventPlan",
    "FieldPlan",
    "HandlerPlan",
    "IfDead",
    "Order",
    "is_choreography",
]
