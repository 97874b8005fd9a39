"""The documentation's site: ``./run docs`` builds it. Why Sphinx: docs/decisions.md."""

from __future__ import annotations

import os
from pathlib import Path

# autodoc imports Airflow, which makes its home where it is imported: not in ~/airflow.
os.environ["AIRFLOW_HOME"] = str(Path(__file__).resolve().parents[2] / ".local" / "site-airflow")
os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"

project = "KIE.ai for Apache Airflow"
author = "The authors of airflow-provider-kie-ai"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "benchmarks/README.md", "include/*/README.md"]
exclude_patterns = ["**/.venv", ".local"]
myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sphinx = False
suppress_warnings = ["myst.header"]
