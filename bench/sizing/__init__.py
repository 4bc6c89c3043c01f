"""The size of a deployment: costs measured step by step on one machine, the line through them, and the need for a load.

    python -m bench.sizing                          measure everything, some six minutes
    python -m bench.sizing readers messages         only these parts
    python -m bench.sizing QUICK=1                  fewer and shorter steps, two minutes, for a test of the program
    python -m bench.sizing --for readers=5000,generations=300,messages=400000
                                                    the need for a load, from the figures of docs/sizing.md
    python -m bench.sizing --own --for readers=5000,generations=300,messages=400000
                                                    the need for a load, from the run of this machine
    python -m bench.sizing --publish                measure, and write measured.py and the tables of docs/sizing.md

readers       processor time and memory of a stream process by its readers, and by the events that it receives
processes     processor time of Redis by the processes that receive each event
proxy         processor time and memory of nginx by the readers behind it
generations   processor time and memory of a worker, of Redis and of PostgreSQL, by the answers that run
messages      the cost of a message from the POST to the end of its answer: time, WAL, rows and indexes, memory of Redis
requests      a reader that comes back, a poll, a list, a search

Each part writes ``out/sizing/<part>.json``; the page ``out/sizing/index.html`` has all parts that are there. A lost or
repeated token fails the run.
"""
