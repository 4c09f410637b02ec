"""Costly facts read from pixels, once per picture content and observer version."""
