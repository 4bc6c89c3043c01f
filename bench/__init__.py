"""Measurements of the real product beside other designs, in one run: ratios first, absolute figures second.

    python -m bench                     everything, each design three times
    python -m bench ROUNDS=1            each design once
    python -m bench QUICK=1             shorter, for CI: fails when a figure is far worse than its target (figures.py)
    python -m bench relay worker        only these

journey     what a person waits for: the first frame, the first token, the answer to a stop
relay       what a delivered token costs the web process and Redis
worker      what a token costs the worker and Redis; what Celery adds before the first one
path        all of it together, from the provider to the readers
database    what an answer writes to PostgreSQL
resume      how long 5,000 tokens take to be there again
growth      how the cost of a token changes with the load, what one process carries, what an idle stream keeps

Every part starts what it measures itself and checks that everything was delivered exactly once. Who else is measured is
in designs (relays), worker, path and resume; their code in peers and c. A peer that cannot run here is left out, with
the reason.
"""
