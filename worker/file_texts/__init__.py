"""The text of files, for models that take no files.

child   the program that reads one file: a process of its own, with limits of time and memory
reader  starts it, and caches texts
"""
