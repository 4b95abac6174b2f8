"""How cachefleets that are each other's regions speak to each other: sealed documents over HTTP."""
