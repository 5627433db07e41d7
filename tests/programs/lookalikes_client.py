"""Requests full of what looks like keys and is none: plain|tls ADDRESS PORT NAME AUTHORITY REQUESTS LINES.

LINES is a file of texts, one of which goes into each request beside hashes, UUIDs and base64. A key, if any, is in KM_KEY and goes
into each request's header. Requests are pipelined. Says how many were served, and how many rounds were refused."""
import base64, os, random, socket, ssl, sys

kind, address, port, name, authority, requests, lines = sys.argv[1:]
AT_ONCE = 100
ROUNDS = 20  # of one connection
lines = open(lines).read().splitlines()
key = os.environ.get("KM_KEY")
context = ssl.create_default_context(cafile=authority)
random.seed(1)


def request():
    digest = random.randbytes(32).hex()
    uuid = f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"
    blob = base64.b64encode(random.randbytes(random.randrange(30, 200))).decode()
    body = f'{{"sha256":"{digest}","blob":"{blob}","text":"the key is in the vault, see {uuid}"}}'
    secret = f"x-api-key: {key}\r\n" if key else ""
    return (
        f"POST /v1/items/{uuid}?digest={digest[:40]} HTTP/1.1\r\nhost: {name}\r\n{secret}if-none-match: \"{digest}\"\r\n"
        f"x-note: {random.choice(lines)}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    )


def connect():
    sock = socket.create_connection((address, int(port)), timeout=60)
    return context.wrap_socket(sock, server_hostname=name) if kind == "tls" else sock


def answers(sock, count):
    """Each ends with the same words."""
    seen, tail = 0, b""
    while seen < count:
        part = sock.recv(65536)
        if not part:
            raise OSError("no answer")
        part = tail + part
        seen += part.count(b"ok\n")
        # What a word may begin with that is cut in two.
        tail = part[-2:] if not part.endswith(b"ok\n") else b""


left, refused, rounds, sock = int(requests), 0, 0, connect()
while left:
    if rounds == ROUNDS:
        sock.close()
        rounds, sock = 0, connect()
    count = min(AT_ONCE, left)
    try:
        sock.sendall("".join(request() for _ in range(count)).encode())
        answers(sock, count)
        rounds += 1
    except OSError:
        refused += 1
        rounds = ROUNDS
    left -= count
print(f"served {int(requests) - refused * AT_ONCE} refused {refused}")
