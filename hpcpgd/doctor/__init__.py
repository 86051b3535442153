"""What is wrong or slow about this installation and this job, said before hours are spent.

Each module observes one thing and, in a function of its own, judges what was observed.
May import ``study`` and what lies below it.
"""
