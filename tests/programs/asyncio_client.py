"""asyncio streams, which encrypt into memory and send later. IP PORT NAME AUTHORITY; the key is in KM_KEY."""
import asyncio, os, ssl, sys


async def main(ip, port, name, authority):
    key = os.environ.get("KM_KEY")
    context = ssl.create_default_context(cafile=authority)
    reader, writer = await asyncio.open_connection(ip, int(port), ssl=context, server_hostname=name)
    header = f"x-api-key: {key}\r\n" if key else ""
    writer.write(f"GET / HTTP/1.1\r\nhost: {name}\r\n{header}connection: close\r\n\r\n".encode())
    await writer.drain()
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    print("ok")


asyncio.run(main(*sys.argv[1:5]))
