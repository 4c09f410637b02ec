"""The review page: a desk that holds the queue in memory, and the server that shows it on this machine."""
