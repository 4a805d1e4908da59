"""Sagas at home in the frameworks they are started from; each module needs its own framework only."""
