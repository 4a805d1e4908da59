"""Numbered migrations, applied in order and once each; safe to run twice and at once."""
