"""Threads that ask over TLS again and again until standard input ends: ADDRESS PORT NAME AUTHORITY THREADS. Says how many
requests were served and how many were not, and why the first one was not."""
import http.client, ssl, sys, threading

address, port, name, authority, threads = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
done = threading.Event()
served, failed = [], []


class ByAddress(http.client.HTTPSConnection):
    """To an address, and asking for a name."""

    def connect(self):
        http.client.HTTPConnection.connect(self)
        self.sock = context.wrap_socket(self.sock, server_hostname=name)


def load():
    while not done.is_set():
        try:
            connection = ByAddress(address, int(port), timeout=60)
            for _ in range(5):
                connection.request("POST", "/v1/items", body="nothing secret " * 20, headers={"host": name})
                assert connection.getresponse().read() == b"ok\n"
                served.append(1)
            connection.close()
            # Fifty threads that never pause would leave nothing to the others.
            done.wait(3)
        except Exception as error:
            failed.append(repr(error))


running = [threading.Thread(target=load) for _ in range(int(threads))]
for thread in running:
    thread.start()
print("started", flush=True)
sys.stdin.read()
done.set()
for thread in running:
    thread.join()
print(f"served {len(served)} failed {len(failed)} {failed[0] if failed else ''}")
