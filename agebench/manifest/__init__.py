"""The manifest of one dataset: its tables and views, what is derived of what, and opening it."""
