"""A deployment over several hosts: each host is a network namespace of its own, and partitions are real.

The scenarios run under the load and the checker of `tests.chaos`; docs/fleet.md describes them.
"""
