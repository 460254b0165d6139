"""What the evaluation shows: demonstrations and downstream questions, each a command with its figures."""
