"""The connection gateway: one small process a fleet, doing what engines cannot do themselves.

Here: the routes file (``routes``), the byte pump (``pump``), what may be read or changed on
the way (``interception`` and its implementations), and the worker that ties them together.
Not here: databases, accounts, engine processes, and any decision about where a route should
lead. The control plane decides, writes the routes file, and says ``reload``; the worker keeps
serving when the control plane is gone. Modules import from inside this package only, except
``control``, which is the control plane's side and raises the errors of ``cachefleet.engine``.
"""
