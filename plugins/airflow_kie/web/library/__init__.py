"""The library: everything that is archived, to be searched, viewed and played."""
