"""Objectives of players: per-example values, from log-densities or from logits."""
