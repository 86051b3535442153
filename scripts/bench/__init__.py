"""The rooms of ``scripts/bench_train.py``."""
