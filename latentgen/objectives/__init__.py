"""What players optimize: per-example values in nats, from log-densities or from logits."""
