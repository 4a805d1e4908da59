"""The shop as a Django project. `python3 run.py shop django` runs it."""
