"""A TCP connection's way to a server, which can be cut: silently, as by a firewall, or with resets."""
import selectors
import socket
import threading

from support.process import free_port


class Cable:
    """Listens on a port of its own and passes everything on, as long as it is not cut."""

    def __init__(self, target_port):
        self.target_port, self.port = target_port, free_port()
        self.lock, self.pairs, self.is_cut, self.ended = threading.Lock(), {}, False, False
        self.selector = selectors.DefaultSelector()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended = True
        self.thread.join(10)
        self._close_all()
        self.listener.close()

    def cut(self):
        """From now on nothing passes, and nobody is told."""
        with self.lock:
            self.is_cut = True

    def mend(self):
        """New connections pass; the old ones are gone."""
        with self.lock:
            self._close_all()
            self.is_cut = False

    def reset(self):
        """Breaks what is connected; new connections pass."""
        with self.lock:
            self._close_all()

    def _close_all(self):
        for one in list(self.pairs):
            self._close(one)

    def _close(self, one):
        other = self.pairs.pop(one, None)
        if other is None:
            return
        self.pairs.pop(other, None)
        for each in (one, other):
            self.selector.unregister(each)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            each.close()

    def _accept(self):
        one, _ = self.listener.accept()
        other = socket.create_connection(("127.0.0.1", self.target_port)) if not self.is_cut else socket.socket()
        self.pairs[one], self.pairs[other] = other, one
        for each in (one, other):
            self.selector.register(each, selectors.EVENT_READ)

    def _pass(self, one):
        data = one.recv(65536)
        if data:
            self.pairs[one].sendall(data)
        else:
            self._close(one)

    def _run(self):
        while not self.ended:
            for key, _ in self.selector.select(0.05):
                with self.lock:
                    try:
                        if self.is_cut and key.fileobj is not self.listener:
                            continue
                        if key.fileobj is self.listener:
                            self._accept()
                        elif key.fileobj in self.pairs:
                            self._pass(key.fileobj)
                    except OSError:
                        self._close(key.fileobj)
            if self.is_cut:
                threading.Event().wait(0.05)  # what is readable stays so
