"""TLS connections one after the other, whose objects OpenSSL makes at one address: ADDRESS PORT NAME AUTHORITY TIMES; the key is in KM_KEY.

Each first one begins as HTTP/2 does (RFC 9113, 3.4), and the next sends the key over HTTP/1.1. Says how often that was refused."""
import os, socket, ssl, sys

address, port, name, authority, times = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


def connect():
    return context.wrap_socket(socket.create_connection((address, int(port))), server_hostname=name)


refused = 0
for _ in range(int(times)):
    tls = connect()
    tls.sendall(PREFACE + SETTINGS)
    tls.close()
    del tls
    tls = connect()
    try:
        tls.sendall(f"GET / HTTP/1.1\r\nhost: {name}\r\nx-api-key: {os.environ['KM_KEY']}\r\n\r\n".encode())
        tls.recv(4096)
    except OSError:
        refused += 1
    tls.close()
    del tls
print("refused", refused)
