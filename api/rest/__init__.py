"""The ``/v1`` JSON API: resource-oriented routes over the handlers of the Query API.

``routes`` says where each operation of the model is found, ``fields`` and ``answers`` turn JSON
into parameters and results into JSON by the model's shapes, ``door`` is the ASGI side of it. What
AWS has no call for is one module each in ``extras``. Nothing here knows a resource.
"""
