"""Utilities that know nothing of models: errors, files, signals, randomness, process groups."""
