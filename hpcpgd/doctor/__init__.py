"""Checks of what is wrong or slow about this installation and this job, before long runs.

Each module has one subject: one function observes it, and another judges the observation.
It may import ``study`` and the rooms below ``study``.
"""
