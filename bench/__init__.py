"""Measurements of the real product beside other designs, in one run: ratios first, absolute figures second.

    python -m bench                     everything
    python -m bench QUICK=1             shorter, for CI: fails when a ratio is worse than twice its target
    python -m bench first_frame relay   only these

Every benchmark starts what it measures itself and checks that everything was delivered exactly once.
"""
