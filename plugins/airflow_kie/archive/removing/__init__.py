"""Where the archive has something of a KIE task, and how that is deleted."""
