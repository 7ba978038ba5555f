"""One module a question: what a subject comes to, as a section of the report."""
