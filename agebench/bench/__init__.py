"""Measuring: protocols, evaluations, errors and their intervals, the published numbers, and tables of both."""
