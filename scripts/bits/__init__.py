"""Rooms of ``scripts/check_bits.py``."""
