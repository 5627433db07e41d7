"""TLS connections one after the other, whose objects OpenSSL makes at one address: AUTHORITY NAME TIMES, then ADDRESS PORT of a server on this
very host and of another; the key is in KM_KEY.

Each first one takes the key to this host, and the next a request without it to the other. Says what became of the latter."""
import os, socket, ssl, sys

authority, name, times, here, here_port, away, away_port = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)


def ask(address, port, secret):
    tls = context.wrap_socket(socket.create_connection((address, int(port)), timeout=20), server_hostname=name)
    try:
        tls.sendall(f"GET / HTTP/1.1\r\nhost: {name}\r\nx-api-key: {secret}\r\nconnection: close\r\n\r\n".encode())
        return tls.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
    finally:
        tls.close()


served = 0
for _ in range(int(times)):
    assert ask(here, here_port, os.environ["KM_KEY"]), "what goes to this host is nobody's business"
    served += ask(away, away_port, "none")
print("served", served)
