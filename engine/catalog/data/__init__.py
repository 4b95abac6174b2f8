"""The catalogue's data files; :mod:`cachefleet.engine.catalog.documents` reads them."""
