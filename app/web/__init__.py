"""The page: one HTML shell and its ES modules, served without a build step. Everything else goes through the API.

Read the modules in the order a person meets them: ``main`` (who is here, and where), ``signin``, ``sidebar``,
``chat`` (one conversation), ``composer``, ``message`` (what was asked, and the answer as it grows). Below them
``stream`` (the reader, usable on its own), ``markdown`` and ``code`` (text to nodes), ``api``, ``session``, ``drafts``.
"""
