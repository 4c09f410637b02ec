"""From pictures to verdicts: observing, what is derived of many records together, checks."""
