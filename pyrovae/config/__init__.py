"""Builds objects from options: roles, the command line, presets, and which classes are allowed."""
