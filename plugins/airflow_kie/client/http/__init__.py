"""HTTP to KIE and its CDN: bounded in bytes and time, to checked addresses."""
