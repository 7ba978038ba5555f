"""Figures of the tables: one file a topic."""
