"""KIE's operations as rows."""
