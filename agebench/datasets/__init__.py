"""Datasets: cards, releases as their authors publish them read into one table of records, and how to get them."""
