"""Measures of trained runs, and what they compare samples by."""
