"""Numbers of the random streams that training uses (100 and above; the data have 1 to 99)."""

WEIGHTS = 100  # initial weights
ORDER = 101  # order of the training rows in each epoch
