"""Reviewers' answers about records: the decisions file, how answers are resolved, the queue, and the audit."""
