"""What maintainers run and users do not: the live contract check, and what makes the generated pages of docs/."""
