"""Callback URLs, and how a callback proves that it is KIE's."""
