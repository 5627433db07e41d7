"""websockets: two messages. IP PORT NAME AUTHORITY; the key, if any, is in KM_KEY. Messages are compressed if the server agrees."""
import asyncio, os, ssl, sys, websockets


async def main(ip, port, name, authority):
    key = os.environ.get("KM_KEY")
    context = ssl.create_default_context(cafile=authority)
    target = f"wss://{name}:{port}/chat"
    async with websockets.connect(target, ssl=context, host=ip, port=int(port), server_hostname=name) as socket:
        for text in ["hello", f"my key is {key or 'nothing'}, keep it"]:
            await socket.send(text)
            await socket.recv()
    print("ok")


asyncio.run(main(*sys.argv[1:5]))
