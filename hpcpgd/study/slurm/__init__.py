"""A study on a cluster: its scripts, their submission, and what has become of them."""
