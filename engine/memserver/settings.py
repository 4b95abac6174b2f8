"""What a server was started with. Values only: ``options`` reads them from a command line."""

from __future__ import annotations

MIB = 1 << 20
VERSION = "1.6.22"  # the newest ElastiCache engine version; --report-version says another


class Settings:
    """Every setting with memcached's default. Sizes in bytes, times in seconds."""

    def __init__(self) -> None:
        self.port = 11211
        self.udp_port = 0
        self.listen: list[str] = []
        self.unix_path: str | None = None
        self.unix_mask = 0o700
        self.shutdown_command = False
        self.user: str | None = None
        self.memory_bytes = 64 * MIB
        self.evictions = True
        self.connections_max = 1024
        self.verbosity = 0
        self.daemon = False
        self.pidfile: str | None = None
        self.growth_factor = 1.25
        self.chunk_size = 48
        self.prefix_delimiter = ":"
        self.detail = False
        self.threads = 4
        self.requests_per_event = 20
        self.cas = True
        self.backlog = 1024
        self.protocol = "auto-negotiate"
        self.item_size_max = MIB
        self.sasl = False
        self.sasl_password_file: str | None = None
        self.logins_file: str | None = None
        self.flush = True
        self.dump = True
        self.watch = True
        self.auth_file: str | None = None
        self.tls = False
        self.ssl_chain_cert: str | None = None
        self.ssl_key: str | None = None
        self.ssl_ciphers: str | None = None
        self.ssl_ca_cert: str | None = None
        self.ssl_verify_mode = 0
        self.ssl_min_version = "tlsv1.2"
        # -o options
        self.maxconns_fast = True
        self.hashpower_init = 0
        self.hash_algorithm = "murmur3"
        self.slab_reassign = True
        self.slab_automove = 1
        self.slab_automove_ratio = 0.8
        self.slab_automove_window = 30
        self.slab_automove_freeratio = 0.01
        self.slab_chunk_max = 512 << 10
        self.lru_crawler = True
        self.lru_crawler_sleep_us = 100
        self.lru_crawler_tocrawl = 0
        self.lru_maintainer = True
        self.lru_segmented = True
        self.hot_lru_pct = 20
        self.warm_lru_pct = 40
        self.hot_max_factor = 0.2
        self.warm_max_factor = 2.0
        self.temporary_ttl_s = 61
        self.temp_lru = False
        self.tail_repair_s = 0
        self.idle_timeout_s = 0
        self.watcher_logbuf_bytes = 256 << 10
        self.worker_logbuf_bytes = 64 << 10
        self.read_buf_mem_bytes_max = 0
        self.track_sizes = False
        # What memcached has not
        self.report_version = VERSION
        self.control_path: str | None = None
        self.cluster_config_path: str | None = None
        self.memory_file: str | None = None
        self.admin_commands = True

    @property
    def listen_text(self) -> str:
        """The addresses as ``stats settings`` shows them."""
        return ",".join(self.listen) or "NULL"
