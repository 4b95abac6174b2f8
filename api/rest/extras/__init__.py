"""What AWS has no call for, one module each: ``def router(front_end: FrontEnd) -> APIRouter``.

Paths begin with ``/v1/``. Who asks is known before a request gets here (``requests.scope_of``);
a ``Fault`` or ``StateError`` that is raised here is answered in the one error shape.
"""
