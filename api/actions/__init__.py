"""One module a resource family; each public coroutine marked with ``@action`` is one operation.

Every module of this package is imported when the application is built, so a new family needs no
list to be entered in. Helpers of a family stay in its module; what two families share belongs to
``provisioner.state`` or to a view.
"""
