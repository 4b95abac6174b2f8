"""A server that memcached's clients cannot tell from memcached, plus auto discovery.

Inside: bytes in, bytes out (``session`` and the protocol modules beside it), items under a
memory limit (``store``), and one module with sockets (``server``). Outside this package
nothing of it is imported but ``launch``: the server is a process of its own. It starts in
tens of milliseconds, so no module here may import anything heavy at import time.
"""
