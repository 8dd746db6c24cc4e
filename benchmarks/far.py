"""A network in front of a server that takes its time: `python -m benchmarks.far PORT MS` prints the port it listens on.

Whatever is sent arrives half of MS later, each way. In a process of its own, so that it shares no lock with who is
measured; threads, since an event loop does not wait for less than a millisecond.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress
from queue import SimpleQueue

BLOCK = 1 << 16


def main() -> None:
    """Forward connections until it is ended."""
    port, delay = int(sys.argv[1]), float(sys.argv[2]) / 2000
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            near, _ = listening.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _carry(one, other, delay)


def _carry(source: socket.socket, target: socket.socket, delay: float) -> None:
    """One direction: a thread that takes in, and one that hands on when it is time."""
    under_way: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

    def take_in() -> None:
        block = b"-"
        while block:
            try:
                block = source.recv(BLOCK)
            except OSError:
                block = b""
            under_way.put((time.monotonic() + delay, block))

    def hand_on() -> None:
        with suppress(OSError):
            while True:
                due, block = under_way.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not block:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(block)

    for work in (take_in, hand_on):
        threading.Thread(target=work, daemon=True).start()


if __name__ == "__main__":
    main()
