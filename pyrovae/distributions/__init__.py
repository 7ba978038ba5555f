"""Distributions that torch and Pyro lack, or have only in part."""
