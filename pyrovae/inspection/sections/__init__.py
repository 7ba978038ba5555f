"""One section of the report a module: the numbers, the figures, and what they say."""
