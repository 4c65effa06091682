"""Games of pure functions: the types, how turns become a method, and what wraps a method."""
