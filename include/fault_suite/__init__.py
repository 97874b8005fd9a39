"""The fault suite: kills, wrong answers and S3 errors on a real stack, and what must hold whatever happens."""
