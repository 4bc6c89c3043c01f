"""A client's connection while no thread works on it.

The web server's threads see complete requests only, and leave an answer as soon as it is made. A request that is
arriving, a request that waits for its answer, and an answer that is being sent stay here, in the main thread's
selector, each with a deadline.
"""
