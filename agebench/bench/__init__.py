"""Measuring: errors and their intervals, the published numbers, and tables of both in six formats."""
