"""Benchmarks and checks of the whole program: ``python -m scripts.NAME``, from the checkout."""
