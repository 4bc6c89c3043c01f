"""Runs that an upstream keeps: begun, read over as many connections as it takes, and cancelled.

kept_runs  the runs over HTTP, whatever their protocol
reader     bytes of the bodies of a run to the pieces of one answer, pure. unseen is the part that readers lack
"""
