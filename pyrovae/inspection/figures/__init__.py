"""Figures of what the tables say."""
