"""What Python programs call.  A module here loads MPI only when it trains.

May import ``predict`` and what lies below it.
"""
