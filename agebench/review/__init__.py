"""People's answers about records: the file that holds them, what they come to, the queue, the audit."""
