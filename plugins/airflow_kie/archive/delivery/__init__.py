"""Deliveries: from chosen takes and covers to a folder that a distributor takes."""
