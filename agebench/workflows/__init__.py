"""Commands that combine several domains."""
