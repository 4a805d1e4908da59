"""A long campaign of random faults against thousands of sagas, with money as the witness.

    python3 run.py exec python -m tests.faults.campaign --seed 7 --minutes 10 --sagas 1000

`bank` is what the sagas act upon, `business` the sagas, `planned_sagas` the sagas to start, `starter` starts them;
`fault_environment` has the servers and processes, `network` the cables between them, `faults` what goes wrong,
`fault_runner` when; `books` has what must be true afterwards, `report` prints it.
"""
