"""HTTP/2 by hand, over a socket that takes little: ADDRESS PORT NAME AUTHORITY.

Uploads until the TLS library could not send all of a write and had to be given it again, then sends a request, with a header of KM_KEY
if there is one. Says how often it wrote again."""
import os, select, socket, ssl, struct, sys

address, port, name, authority = sys.argv[1:]
key = os.environ.get("KM_KEY", "")
context = ssl.create_default_context(cafile=authority)
sock = socket.create_connection((address, int(port)), timeout=60)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
sock = context.wrap_socket(sock, server_hostname=name)
sock.setblocking(False)
again = 0


def send(data):
    global again
    view = memoryview(data)
    while view:
        # Not whole frames.
        part = view[:16_000]
        try:
            view = view[sock.send(part) :]
        except ssl.SSLWantWriteError:
            again += 1
            select.select([], [sock], [], 10)


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def field(name, value):
    return b"\x10" + b"".join(length(text) + text for text in (name, value))


def length(text):
    return bytes([len(text)]) if len(text) < 127 else bytes([127, len(text) - 127])


send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
send(frame(1, 4, 1, b"\x83\x84\x86" + field(b":authority", name.encode())))
words = " ".join(f"word {n} and" for n in range(1_200)).encode()
for _ in range(100):
    if again > 2:
        break
    send(b"".join(frame(0, 0, 1, words[: 15_000 - 7 * n]) for n in range(20)))
secret = field(b"x-api-key", key.encode()) if key else b""
send(frame(1, 5, 3, b"\x82\x84\x86" + field(b":authority", name.encode()) + secret))
print(f"wrote again {min(again, 3)}", flush=True)
sock.setblocking(True)
sock.shutdown(socket.SHUT_WR)
