"""Utilities that do not depend on models: errors, files, signals, randomness, process groups."""
