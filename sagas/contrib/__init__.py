"""Integrations with frameworks; each module needs only its own framework."""
