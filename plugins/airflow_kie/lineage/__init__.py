"""Where each file came from: facts, OpenLineage, asset events."""
