"""The page: one HTML shell and its ES modules, served without a build step. Everything else goes through the API.

Read the modules in the order a person meets them: ``main`` (who is here, and where), ``signin``, ``sidebar``, ``chat``
(one conversation, with ``thread``, ``composer`` and ``branches``), ``message`` (what was asked, and the answer as it
grows). Below them ``stream`` (the reader, usable on its own) and ``together`` (tabs share it), ``markdown`` with
``blocks``, ``inline`` and ``code`` (text to nodes), ``api``, ``session``, ``drafts``, ``router``, ``overlay``, ``dom``.
"""
