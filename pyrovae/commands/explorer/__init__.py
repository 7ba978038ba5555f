"""The explorer: answers to questions about a run, from its programs."""
