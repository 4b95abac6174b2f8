"""memcached nodes from outside: their command line, their statistics, their adapter.

The bundled server itself is :mod:`cachefleet.engine.memserver`; nothing here imports it.
"""
