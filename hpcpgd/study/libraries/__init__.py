"""Well-known libraries on the training problem of a scaling study, each its own program."""
