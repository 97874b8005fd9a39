"""KIE's models as data: their fields, what KIE takes in them, and what they cost."""
