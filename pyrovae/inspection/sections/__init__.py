"""One section of the report a file: what a question came to."""
