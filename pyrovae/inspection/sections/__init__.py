"""The questions of the report: each a function of a subject that gives a section."""
