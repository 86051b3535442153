"""The modules of ``scripts/check_gpu.py``."""
