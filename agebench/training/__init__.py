"""Training: networks and losses by name, data, the loop, runs, and what a run estimates."""
