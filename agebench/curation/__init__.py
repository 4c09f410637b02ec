"""From pictures to verdicts: observing, facts derived from many records together, checks."""
