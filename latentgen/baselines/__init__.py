"""Papers' numbers, what this project found for them, and whether the two agree."""
