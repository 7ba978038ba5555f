"""Campaigns of damaged input: each makes cases from a seed, runs them, and judges them."""
