"""Bridges between two services, each with a database and a broker of its own."""
