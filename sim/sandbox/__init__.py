"""The sandbox: the simulated exchange behind Bybit's v5 protocol, REST and WebSocket, for anyone's bot.

What no source confirms is marked ASSUMED where it stands, and listed in docs/sandbox.md. This package alone in ``sim`` may use asyncio,
aiohttp and a clock that it is given.
"""
