"""How good a generator is: estimates and exact values of log p(x), and what the code tells."""
