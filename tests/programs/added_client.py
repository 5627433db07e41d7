"""TLS in memory, as event loops have it, on a socket that takes little: ADDRESS PORT NAME AUTHORITY [half-close].

Fills the socket until it takes no more, then adds a request, with KM_KEY in it if there is one, to what was left, and sends both in one
call. half-close: and says that nothing more comes, while all of that still waits."""
import os, select, socket, ssl, sys

address, port, name, authority, *half_close = sys.argv[1:]
key = os.environ.get("KM_KEY", "none")
context = ssl.create_default_context(cafile=authority)
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
sock = socket.create_connection((address, int(port)), timeout=60)
while True:
    try:
        tls.do_handshake()
        break
    except ssl.SSLWantReadError:
        sock.sendall(outgoing.read())
        incoming.write(sock.recv(65536))
sock.sendall(outgoing.read())
sock.setblocking(False)
left = b""
try:
    while True:
        for _ in range(8):
            tls.write(b"words and " * 1_600)
        left += outgoing.read()
        left = left[sock.send(left) :]
except BlockingIOError:
    pass
tls.write(f"GET / HTTP/1.1\r\nhost: {name}\r\nx-api-key: {key}\r\n\r\n".encode())
try:
    tls.unwrap()
except ssl.SSLWantReadError:
    left += outgoing.read()
while left:
    select.select([], [sock], [])
    left = left[sock.send(left) :]
if half_close:
    sock.shutdown(socket.SHUT_WR)
answer = None
while answer != b"":
    select.select([sock], [], [])
    try:
        answer = sock.recv(65536)
    except BlockingIOError:
        pass
