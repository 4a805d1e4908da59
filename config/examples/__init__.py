"""The same small shop in three frameworks: a page that places an order and shows its progress live.

`python3 run.py shop django` (or `flask`, or `fastapi`) starts one with everything it needs.
"""
