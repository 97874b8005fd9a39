"""What Airflow 3.3.2 imports by the name of this distribution when it searches all providers for example DAGs.

Without it, every start of a DAG processor logs a traceback where `[core] load_examples` is on, as it is by default
(github.com/apache/airflow/issues/66305). Being a module and not a package, it brings no example DAGs: copies of those
in `airflow_kie.example_dags` have the same ids.
"""
