"""A simulator of the KIE.ai API for tests, demos and local work.

It is written from KIE's public documentation and recorded traffic alone and never imports ``airflow_kie``:
a client's misunderstanding must not be mirrored by the server that it is tested against.
Nothing here reaches the internet; callbacks go to loopback addresses only.
"""
