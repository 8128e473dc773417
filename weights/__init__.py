"""The models that ship, and what is done to weights beside loading: train, fetch, save, rewrite."""
