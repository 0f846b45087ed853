"""A socket that speaks TLS, for clients that look at TLS itself: unlike ssl.SSLSocket it can send
its half of a goodbye and go on reading, and it tells whether the server said goodbye at all."""

import os
import ssl


def make_context(directory, version=None):
    """Verifies with ca-cert.pem of `directory`; shows client-cert.pem if that is there."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(os.path.join(directory, "ca-cert.pem"))
    certificate = os.path.join(directory, "client-cert.pem")
    if os.path.exists(certificate):
        context.load_cert_chain(certificate, os.path.join(directory, "client-key.pem"))
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class TlsSocket:
    """Over a connected socket, whose other methods it has, too."""

    def __init__(self, raw, context):
        self.raw = raw
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.heard_goodbye = False

    def __getattr__(self, name):
        return getattr(self.raw, name)

    def flush(self):
        data = self.outgoing.read()
        if data:  # sending nothing to who has hung up is an error, too
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

    def shake_hands(self):
        self.run(self.tls.do_handshake)
        return self

    def first_flight(self):
        """The ClientHello, not sent yet."""
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
        except ssl.SSLZeroReturnError:  # once we have said it ourselves
            data = b""
        except ssl.SSLEOFError:
            return b""
        self.heard_goodbye = not data
        return data

    def shutdown(self, _):
        """Says goodbye, and goes on reading."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()
