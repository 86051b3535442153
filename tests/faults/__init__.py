"""Disturbed runs for ``check_faults.py``."""
