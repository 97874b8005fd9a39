"""The status page: money, files, and what to do, for somebody who has never seen it."""
