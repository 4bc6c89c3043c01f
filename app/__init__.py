"""The application. Flask is only one of its doors.

Read it in the order a generation lives:

    api        parse a request, call a service, render the answer
    services   use cases; the only code that commits
    store      PostgreSQL: the authority
    eventlog   Redis: the rebuildable log and the loudspeaker
    queue      the doorbell: task names, and sending by name
    relay      live delivery inside one web process
    ops, web   operator views and the page
    domain     pure rules both sides agree on; imports nothing of ours
    wiring     builds all of it from settings, after the fork

Imports run downwards only; ``worker`` may import ``app``, never the reverse.
"""
