"""Shared by tests: an application whose steps follow a script, its journal, and real workers."""
