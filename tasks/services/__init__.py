"""The shop's services: small, but with real tables, real constraints and real failures.

Each one is a *participant*: it knows keys and orders, and nothing about sagas. `barrier` makes them safe to call twice,
late, and in the wrong order: whatever an action of a service may raise itself, it may also raise DoorClosed and
KeyReused, as `barrier.once` says.
"""
