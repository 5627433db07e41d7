"""One TLS connection that goes on after a refused write: KIND ADDRESS PORT NAME AUTHORITY; the key is in KM_KEY.

A request with the key, one without, and both once more. socket: the library writes to the socket. memory: it writes to memory,
as event loops have it. http2: streams of one connection (their fields never enter HPACK's table). Says what became of each.
deaf: only the first request, whose error is ignored, and then an answer is waited for."""
import os, socket, ssl, sys

kind, address, port, name, authority = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
key = os.environ["KM_KEY"]


class Memory:
    """A TLS connection between memory and a socket. What waits for the other end waits for a second."""

    def __init__(self, sock):
        self.sock, self.incoming, self.outgoing = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self.pump(self.tls.do_handshake)

    def pump(self, call):
        while True:
            try:
                result = call()
                self.sock.sendall(self.outgoing.read())
                return result
            except ssl.SSLWantReadError:
                self.sock.sendall(self.outgoing.read())
                self.incoming.write(self.sock.recv(65536))

    def sendall(self, data):
        # An event loop has read all there is before it writes.
        try:
            self.tls.read(1)
        except ssl.SSLWantReadError:
            pass
        self.tls.write(data)
        self.sock.sendall(self.outgoing.read())

    def recv(self, size):
        return self.pump(lambda: self.tls.read(size))


class Http1:
    def __init__(self, tls):
        self.tls = tls

    def ask(self, secret):
        self.tls.sendall(f"GET / HTTP/1.1\r\nhost: {name}\r\nx-api-key: {secret}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"ok\n"):
            answer += self.tls.recv(1000) or sys.exit("no answer")


class Http2:
    def __init__(self, tls):
        import h2.connection, h2.events

        self.tls, self.ended = tls, h2.events.StreamEnded
        self.http = h2.connection.H2Connection()
        self.http.initiate_connection()
        self.tls.sendall(self.http.data_to_send())

    def ask(self, secret):
        from hpack import NeverIndexedHeaderTuple as Field

        stream = self.http.get_next_available_stream_id()
        fields = {":method": "GET", ":path": "/", ":scheme": "https", ":authority": name, "x-api-key": secret}
        self.http.send_headers(stream, [Field(*field) for field in fields.items()], end_stream=True)
        self.tls.sendall(self.http.data_to_send())
        while True:
            events = self.http.receive_data(self.tls.recv(65536) or sys.exit("no answer"))
            self.tls.sendall(self.http.data_to_send())
            if any(isinstance(event, self.ended) for event in events):
                return


sock = socket.create_connection((address, int(port)))
sock.settimeout(None if kind == "deaf" else 20)
if kind == "http2":
    context.set_alpn_protocols(["h2"])
tls = Memory(sock) if kind == "memory" else context.wrap_socket(sock, server_hostname=name)
client = Http2(tls) if kind == "http2" else Http1(tls)
if kind == "deaf":
    try:
        client.ask(key)
    except OSError:
        pass
    sys.exit(print("answered" if tls.recv(1) else "ended"))
said = []
for secret in (key, "none", key, "none"):
    try:
        client.ask(secret)
        said.append("served")
    except ssl.SSLError as error:
        said.append("waits" if isinstance(error, (ssl.SSLWantReadError, ssl.SSLWantWriteError)) else "refused")
print(*said)
