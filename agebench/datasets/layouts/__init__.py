"""Layouts by name: a function `read(card, root) -> Release` each, or entry points of the group `agebench.layouts`."""
