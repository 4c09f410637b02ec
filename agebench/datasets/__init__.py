"""Datasets: reading published releases into one table of records, and downloading them."""
