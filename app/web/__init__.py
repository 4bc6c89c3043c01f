"""The pages of users and of operators: HTML shells and ES modules, without a build step. All data comes from the API.

A reader of the modules begins with ``main`` (sign-in view or workspace), ``signin``, ``workspace``, ``sidebar`` and
``chat``. A chat consists of ``entries`` (the messages of a branch: ``question``, ``answer``), ``sending``,
``following``, ``thread`` and ``composer``. Below them are ``shared_connection`` (one connection for all tabs) with
``tab_election``, ``feed``, ``answer_relay`` and ``answer_reader``; ``stream`` (a reader that other pages can use) and
``reconnecting_stream``; ``markdown`` with ``blocks`` and ``inline`` (text to trees), ``blocks_view``, ``inline_view``,
``formula_view`` and ``code`` (trees to nodes); ``account`` and its pages; ``api``, ``requests``, ``session``,
``drafts``, ``router``, ``overlay`` and ``dom``.

The operators' page has its modules in ``static/ops``: ``main``, ``console``, and a module for each view.
"""
