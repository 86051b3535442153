"""The modules of ``scripts/check_bits.py``."""
