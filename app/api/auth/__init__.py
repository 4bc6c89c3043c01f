"""The credentials of a request, and the caller that they prove.

``keys``, ``tokens``, ``signatures`` and ``sessions`` have one kind of credential each. ``caller`` tries them in the
order of the application and keeps the result for the request. ``rights`` compares it with the need of a route, and
``actor`` names it in the audit.
"""
