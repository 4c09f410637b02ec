"""Layouts, found by name: functions `read(card, root) -> Release`, or entry points of the group `agebench.layouts`."""
