"""The library: search, view and play everything that is archived."""
