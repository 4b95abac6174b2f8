from cachefleet.engine.memserver.connection import Connection
from cachefleet.engine.memserver.lru import Item
from cachefleet.engine.memserver.session import Session
from cachefleet.engine.memserver.store import Store

class Pump:
    def __new__(
        cls,
        store: Store,
        never: int,
        item: type[Item],
        connection: type[Connection],
        session: type[Session],
    ) -> Pump: ...

class Channel:
    def __new__(cls, pump: Pump, connection: Connection, fd: int) -> Channel: ...
    def on_ready(self, events: int, /) -> None: ...
