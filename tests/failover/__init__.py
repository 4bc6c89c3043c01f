"""Targets that fail in the middle of an answer: every place of a cut, for all pairs of kinds of upstreams.

rig        six fake upstreams, a worker, a web process
cases      one answer whose first target is cut, and what must hold of it
__main__   all cases: ``python -m tests.failover``; ``make test`` draws a few of them
"""
