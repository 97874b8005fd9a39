"""A world in memory for paid tasks: KIE, S3, a network and processes that die, in time that passes by itself."""
