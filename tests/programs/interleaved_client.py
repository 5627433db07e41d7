"""Pairs of TLS connections on one thread, of which one carries a key: KIND ADDRESS PORT NAME AUTHORITY PAIRS.

socket: the library writes to the socket itself. memory: it writes to memory, and what both made is sent afterwards, in
turn. reused: as socket, after a clean request on each. Says how often which was served and refused."""
import os, random, socket, ssl, sys

kind, address, port, name, authority, pairs = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
context.check_hostname = True
key = os.environ["KM_KEY"]


def request(secret):
    return f"GET / HTTP/1.1\r\nhost: {name}\r\nx-api-key: {secret}\r\n\r\n".encode()


def whole(read):
    """An answer comes in several records."""
    answer = b""
    while not answer.endswith(b"ok\n"):
        part = read()
        if not part:
            raise OSError("no answer")
        answer += part
    return answer


class Memory:
    """A TLS connection between memory and a socket."""

    def __init__(self, sock):
        self.sock, self.incoming, self.outgoing = sock, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self.pump(self.tls.do_handshake)

    def pump(self, call):
        while True:
            try:
                result = call()
                self.send()
                return result
            except ssl.SSLWantReadError:
                self.send()
                self.incoming.write(self.sock.recv(65536))

    def send(self):
        if self.outgoing.pending:
            self.sock.sendall(self.outgoing.read())

    def write(self, data):
        self.tls.write(data)

    def answer(self):
        return whole(lambda: self.pump(lambda: self.tls.read(1000)))


class Socket:
    """A TLS connection of which the library itself writes to the socket."""

    def __init__(self, sock):
        self.tls = context.wrap_socket(sock, server_hostname=name)

    def write(self, data):
        self.tls.sendall(data)

    def send(self):
        pass

    def answer(self):
        return whole(lambda: self.tls.recv(1000))


def served(step):
    try:
        step()
        return True
    except OSError:
        return False


counts = {(False, True): 0, (False, False): 0, (True, True): 0, (True, False): 0}
for number in range(int(pairs)):
    make = Memory if kind == "memory" else Socket
    both = [(carries, make(socket.create_connection((address, int(port))))) for carries in (False, True)]
    if number % 2:
        both.reverse()
    if kind == "reused":
        for _, connection in both:
            connection.write(request("none"))
            assert connection.answer().startswith(b"HTTP/1.1 200")
    # A different length now and then: records are told apart by it, and must not have to be.
    secrets = [(key if carries else "n" * random.choice((9, 108)), carries, c) for carries, c in both]
    alive = {}
    for secret, carries, connection in secrets:
        alive[carries] = served(lambda: connection.write(request(secret)))
    for secret, carries, connection in reversed(secrets) if number % 3 == 0 else secrets:
        alive[carries] = alive[carries] and served(connection.send)
    for secret, carries, connection in secrets:
        def ends():
            if not connection.answer().startswith(b"HTTP/1.1 200"):
                raise OSError("no answer")
        counts[carries, alive[carries] and served(ends)] += 1

print(
    f"clean served {counts[False, True]} refused {counts[False, False]}; "
    f"key served {counts[True, True]} refused {counts[True, False]}"
)
