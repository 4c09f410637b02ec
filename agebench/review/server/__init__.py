"""The review page: a session that holds the queue in memory, and the server that shows it on this machine."""
