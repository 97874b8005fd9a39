"""KIE's callbacks: checked, made durable, and turned into a wake-up or an event."""
