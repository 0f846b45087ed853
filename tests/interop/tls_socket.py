"""A TLS socket for tests. Unlike ssl.SSLSocket, it can send close_notify and continue to read, and
it records whether the server sent close_notify."""

import os
import ssl


def make_context(directory, version=None):
    """Returns a context that verifies the server with ca-cert.pem from `directory` and presents
    client-cert.pem if it exists."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(os.path.join(directory, "ca-cert.pem"))
    certificate = os.path.join(directory, "client-cert.pem")
    if os.path.exists(certificate):
        context.load_cert_chain(certificate, os.path.join(directory, "client-key.pem"))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class TlsSocket:
    """Wraps a connected socket and forwards its other methods."""

    def __init__(self, raw, context):
        self.raw = raw
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.got_close_notify = False

    def __getattr__(self, name):
        return getattr(self.raw, name)

    def flush(self):
        data = self.outgoing.read()
        if data:  # on a closed connection, even an empty send fails
            self.raw.sendall(data)

    def run(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self.flush()
                data = self.raw.recv(1 << 18)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
            finally:
                self.flush()

    def handshake(self):
        self.run(self.tls.do_handshake)
        return self

    def first_flight(self):
        """Returns the ClientHello without sending it."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def sendall(self, data):
        data = memoryview(data)
        while data:
            data = data[self.tls.write(data[:1 << 20]):]
            self.flush()

    def recv(self, size):
        try:
            data = self.run(lambda: self.tls.read(size))
        except ssl.SSLZeroReturnError:  # after our own close_notify
            data = b""
        except ssl.SSLEOFError:
            return b""
        self.got_close_notify = not data
        return data

    def shutdown(self, _):
        """Sends close_notify. The socket can still be read."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()
