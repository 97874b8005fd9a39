"""Is a file whole, and what it says it is?"""
