"""Scaling studies: plan, run, collect, report."""
