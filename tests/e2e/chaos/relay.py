"""A TCP relay between agent and server that can hold what it carries, lose the answers, cut every
connection, or let nobody in. It sees bytes, not messages: TLS goes through it unbroken."""
import selectors
import socket
import struct
import threading
import time

CHUNK = 65536
TURN_S = 0.002
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: a reset instead of a farewell


class _Half:
    """One direction: what has come and when it may go."""

    def __init__(self, source, sink, is_reply):
        self.source = source
        self.sink = sink
        self.is_reply = is_reply
        self.chunks = []  # (time at which it may go, bytes)
        self.ended = False


class Relay:
    def __init__(self, host, target_port):
        self.target_port = target_port
        self.listener = socket.create_server((host, 0))
        self.listener.setblocking(False)
        self.host, self.port = self.listener.getsockname()
        self.lock = threading.Lock()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.halves = []
        self.reset()
        self.running = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def reset(self):
        """Everything goes through at once."""
        self.delay = None  # callable: seconds that the next chunk waits
        self.lose_replies = False
        self.hold_replies = False
        self.refuse = False

    def cut(self):
        """Every connection ends with a reset, now."""
        with self.lock:
            while self.halves:
                self._drop(self.halves[0])

    def close(self):
        self.running = False
        self.thread.join()
        self.cut()
        self.listener.close()
        self.selector.close()

    def _drop(self, half):
        for one in [other for other in self.halves if half.source in (other.source, other.sink)]:
            self.halves.remove(one)
            try:
                self.selector.unregister(one.source)
            except (KeyError, ValueError):
                pass
            try:
                one.source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            except OSError:
                pass
            one.source.close()

    def _accept(self):
        try:
            near, _ = self.listener.accept()
        except OSError:
            return
        if self.refuse:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            near.close()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self.target_port), 1)
        except OSError:
            near.close()
            return
        for one in (near, far):
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for half in (_Half(near, far, False), _Half(far, near, True)):
            self.halves.append(half)
            self.selector.register(half.source, selectors.EVENT_READ, half)

    def _read(self, half):
        try:
            data = half.source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._drop(half)
            return
        if not data:
            half.ended = True
            self.selector.unregister(half.source)
        elif not (half.is_reply and self.lose_replies):
            wait = self.delay() if self.delay else 0
            last = half.chunks[-1][0] if half.chunks else 0  # bytes keep their order
            half.chunks.append((max(time.monotonic() + wait, last), data))

    def _write(self, half):
        if half.is_reply and self.hold_replies:
            return
        now = time.monotonic()
        while half.chunks and half.chunks[0][0] <= now:
            due, data = half.chunks[0]
            try:
                sent = half.sink.send(data)
            except BlockingIOError:
                return
            except OSError:
                self._drop(half)
                return
            if sent < len(data):
                half.chunks[0] = (due, data[sent:])
                return
            half.chunks.pop(0)
        if half.ended and not half.chunks:
            self._drop(half)

    def _run(self):
        while self.running:
            waits = any(half.chunks for half in self.halves)
            events = self.selector.select(TURN_S if waits else 0.02)
            with self.lock:
                for key, _ in events:
                    if key.data is None:
                        self._accept()
                    elif key.data in self.halves and not key.data.ended:
                        self._read(key.data)
                for half in list(self.halves):
                    if half in self.halves:
                        self._write(half)
