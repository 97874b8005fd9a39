"""Songs that people and programs submit as objects in the bucket."""
