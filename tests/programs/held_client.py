"""One TLS connection that is kept: ADDRESS PORT NAME AUTHORITY. Says `connected`; for each line of input, `clean` or `key`, sends a
request of that kind and says `served` or `refused`."""
import os, socket, ssl, sys

address, port, name, authority = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
tls = context.wrap_socket(socket.create_connection((address, int(port))), server_hostname=name)
print("connected", flush=True)
for line in sys.stdin:
    secret = os.environ["KM_KEY"] if line.strip() == "key" else "none"
    try:
        tls.sendall(f"GET / HTTP/1.1\r\nhost: {name}\r\nx-api-key: {secret}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"ok\n"):
            part = tls.recv(4096)
            if not part:
                raise OSError("no answer")
            answer += part
        print("served", flush=True)
    except OSError:
        print("refused", flush=True)
