"""Hands every connection that comes to an address on to a socket: `handing.py HOST PORT SOCKET`."""

import asyncio
import sys
from contextlib import suppress


async def main(host: str, port: int, path: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, up = await asyncio.open_unix_connection(path)
            await asyncio.gather(_carry(reader, up), _carry(upstream, writer))
        except OSError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, host, port)
    print("ready", flush=True)
    await server.serve_forever()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(65536):
            sink.write(piece)
            await sink.drain()
    sink.transport.abort()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
