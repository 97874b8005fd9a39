"""What an error that has no type of ours says to a person."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from airflow_kie.monitoring.checks.findings import error_text


def test_a_database_without_tables_names_the_command_that_makes_them() -> None:
    engine = create_engine("sqlite://")
    with pytest.raises(OperationalError) as lacking, engine.connect() as connection:
        connection.execute(text("SELECT * FROM dag"))
    engine.dispose()
    assert "`airflow db migrate`" in error_text(lacking.value)
    assert error_text(lacking.value, quoted=False) == error_text(lacking.value)


def test_another_error_is_quoted_with_its_type_where_that_is_allowed() -> None:
    error = OperationalError("SELECT 1", {}, Exception("database is locked"))
    assert "database is locked" in error_text(error)
    assert error_text(error, quoted=False) == "Unexpected error: OperationalError."
