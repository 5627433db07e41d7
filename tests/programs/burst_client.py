"""Datagrams as fast as they go, refused or not: ADDRESS PORT LINES. Says how many were sent and how many refused."""
import socket, sys

address, port, lines = sys.argv[1:]
datagrams = open(lines, "rb").read().splitlines()
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((address, int(port)))
refused = 0
for datagram in datagrams:
    try:
        sock.send(datagram)
    except PermissionError:
        refused += 1
print(f"sent {len(datagrams) - refused} refused {refused}")
