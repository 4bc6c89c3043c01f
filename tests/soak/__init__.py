"""The soak: a deployment under a steady load for an hour, replaced every five minutes. Nothing in it may grow.

``make soak`` runs it; docs/soak.md describes the series, their tolerances and a run.
"""
