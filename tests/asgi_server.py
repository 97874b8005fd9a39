"""An app served by a real uvicorn on loopback, in a thread of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn


@contextmanager
def serving(app: Any, **changes: Any) -> Iterator[int]:
    """Serve an app until the block ends; give its port.

    :param changes: of uvicorn's configuration.
    """
    # Connections are kept for longer than the tests' clients keep them: see kie_simulator.server.
    kept = {"timeout_keep_alive": 75, **changes}
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none", **kept)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
