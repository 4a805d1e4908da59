"""The holes that interleavings, crashes and late messages can tear into a saga, and what closes each of them.

    python3 run.py exec python -m tests.holes             every hole, one after the other
    python3 run.py exec python -m tests.holes C4 M3       some of them
    python3 run.py exec python -m tests.holes --list      what they are

A green test proves little until it has been seen to fail. So the table has for each hole a *reversal*, which takes its
fix away by a small edit, and the tests that must notice. The command applies each reversal to a copy of this directory,
runs its tests there, and fails if one of them still passes.
"""
