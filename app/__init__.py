"""The application. Flask is one of its interfaces.

A generation passes the packages in this order:

    api          parses a request, calls a service, makes the response
    services     use cases; the only code that commits
    store        PostgreSQL: the authority
    eventlog     Redis: logs that can be rebuilt, and messages to readers
    broker       the doorbell: names of tasks, and sending by name
    relay        live delivery inside one web process
    telemetry    spans and measurements, where an operator wants them
    connections  a client's connection while no thread works on it
    ops, web     health and metrics for operators, and the page
    domain       pure rules; imports no other package of the application
    wiring       builds all of it from settings, after the fork

pyproject.toml has the layers of these packages. ``worker`` may import ``app``, never the reverse.
"""

import sys

# redis-py imports OpenTelemetry's SDK wherever it is installed: 3 MB of memory in each process, for nothing. An import
# of it fails from here on, until `app.telemetry.current.start` is called. A program that imported it before keeps it.
sys.modules.setdefault("opentelemetry", None)  # type: ignore[arg-type]  # None makes an import fail
