"""Data sets, what is done to their pixels, and which examples a step sees."""
