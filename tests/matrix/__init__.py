"""The versions that are supported, each tried in an environment of its own: `python3 run.py matrix`."""
