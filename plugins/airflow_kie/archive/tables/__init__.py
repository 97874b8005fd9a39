"""Tables in the bucket: the requests of a list, and what became of each."""
