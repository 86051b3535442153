"""What computes the gradient, one module a backend, and their ``registry``.

Backends that schedules deal out (``gemm``, and for reduction ``reproducible`` also ``loops`` and
``gemv``) offer three functions that compute units of a product (``schedule.units``), which a
``ScheduledPlan`` runs.  The others, and these on one example at a time, have a class ``Plan`` with
``gradient`` and ``evaluate``.  A plan's buffers are ``plan.work``.
May import ``device``, ``schedule``, ``blas`` and ``core``.
"""
