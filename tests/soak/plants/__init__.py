"""Leaks built in on purpose, which the soak must find.

The deployment starts ``tests.soak.plants.web`` in place of ``wsgi``; it plants the leak that SOAK_PLANT names and then
loads the real application. Production code has no switch.
"""

# A leak, and the kind of series that must turn red by it.
PLANTS = {"descriptor": "descriptors", "list": "memory"}
