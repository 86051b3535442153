"""The paper's own study: Table 1, its figures and its claims, on this machine."""
