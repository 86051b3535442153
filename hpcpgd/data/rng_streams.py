"""Numbers of the random streams.

A stream is a second key beside the user's seed: two streams of one seed share nothing.
"""

STREAM_SPLIT = 1  # order from which the validation rows are taken
STREAM_TEST = 2  # rows held out for testing where the data have no test set
STREAM_SYNTHETIC = 3  # bytes of synthetic data
STREAM_DIGITS = 4  # the fixed order of the bundled digits
STREAM_WEIGHTS = 5  # initial weights
STREAM_ORDER = 6  # order of the training rows in each epoch

DIGITS_KEY = 1998  # not the user's seed: everyone's test set is the same
