"""The backends, which compute the gradient: a module for each, and their ``registry``.

A backend that works by a schedule offers three functions that compute units of a product
(``schedule.units``), and a ``ScheduledPlan`` runs them.  These are ``gemm`` and, for reduction
``reproducible``, ``loops`` and ``gemv``.  All but ``gemm`` have a class ``Plan`` with ``gradient``
and ``evaluate``.  A plan's buffers are ``plan.work``.
May import ``device``, ``schedule``, ``blas`` and ``core``.
"""
