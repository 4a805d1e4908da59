"""The shop's services: small, but with real tables, real constraints and real failures.

Each one is a *participant*: it knows keys and orders, and nothing about sagas.
"""
