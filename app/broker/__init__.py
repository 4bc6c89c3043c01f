"""Celery's broker, seen from the application: a task is a name and a generation's id, and no result comes back.

application   the Celery application of a process, configured for one broker and one namespace
queue         sends tasks in the background

A task is only a hint that there is work. PostgreSQL holds the work; the sweeper finds a generation whose task is lost.
"""
