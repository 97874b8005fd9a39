"""The chain of the main job as a task group."""
