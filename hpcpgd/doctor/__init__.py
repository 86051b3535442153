"""What is wrong or slow about this installation and this job, told before hours are spent.

Each module observes one thing and, in a function of its own, judges what was observed.
"""
