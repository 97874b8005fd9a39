"""What KIE's answers mean."""
