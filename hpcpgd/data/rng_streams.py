"""Numbers of the random streams.

A stream is a second key beside the user's seed: two streams of one seed are independent.
"""

STREAM_SPLIT = 1  # the order by which rows are split into training and validation
STREAM_TEST = 2  # rows held out for testing if the data have no test set
STREAM_SYNTHETIC = 3  # bytes of synthetic data
STREAM_DIGITS = 4  # the fixed order of the bundled digits
STREAM_WEIGHTS = 5  # initial weights
STREAM_ORDER = 6  # order of the training rows in each epoch

DIGITS_KEY = 1998  # in place of the user's seed: the test set is the same for every user
