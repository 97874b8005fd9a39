"""The public callback route."""
