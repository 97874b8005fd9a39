"""Is a file complete, and what it claims to be?"""
