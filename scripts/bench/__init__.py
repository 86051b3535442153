"""The modules of ``scripts/bench_train.py``."""
