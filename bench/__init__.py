"""Measurements of the real product beside other designs, in one run: ratios first, absolute figures second.

    python -m bench                     everything, each design three times
    python -m bench ROUNDS=1            each design once
    python -m bench QUICK=1             shorter, for CI: fails when a figure is far worse than its target (figures.py)
    python -m bench relay worker        only these parts
    python -m bench relay BESIDE=nchan,granian    the product beside the peers with these names

journey     a person's waits: for the first frame, for the first token, for the reply to a stop
relay       the cost of a delivered token in the web process and in Redis
worker      the cost of a token in the worker and in Redis, and Celery's share of the time to the first token
path        the cost of a token from the provider to the readers, all processes together
database    the bytes that an answer writes to PostgreSQL
resume      the time until a reader has 5,000 tokens again
connects    the cost of a reader that comes back to a log which its process follows, 64 of them at a time
back_again  the seconds until 5,000 readers are back after the death of their web process
growth      the cost of a token under rising load, the limit of one process, the memory of an idle stream

Every part starts its own servers and checks that every token was delivered exactly once. The modules designs (relays),
worker, path and resume list the peers; the peers' code is in bench/peers and bench/c. A peer that cannot run on this
machine is left out, and the report gives the reason.
"""
