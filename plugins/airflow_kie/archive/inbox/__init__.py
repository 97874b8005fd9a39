"""Songs that people and programs hand in as objects in the bucket."""
